//! The ids of other implementations, and that nothing but the one encoding is read.

#![expect(clippy::cast_possible_truncation, reason = "a pattern of bytes, and indices into what is in memory")]

use bytes::Bytes;
use proptest::prelude::*;

use super::file::{child_form, decode, encode};
use super::layout::{FileShape, LEAF, Layout, WIDTH};
use super::{Tree, TreeStep, children};
use crate::ErrorKind;
use crate::id::{ChunkForm, ChunkId, Digest, HashAlgorithm};

const SHA: HashAlgorithm = HashAlgorithm::Sha2_256;

/// Leaf `n` of the files below: its number in four bytes, then a cheap pattern.
fn leaf(n: u64, len: u64) -> Vec<u8> {
    (0..len).map(|j| if j < 4 { (n >> (8 * j)) as u8 } else { (j * 31 + (j >> 8)) as u8 }).collect()
}

/// The id of the file of `size` bytes whose leaves are [`leaf`], one leaf in memory at a time.
fn id_of(size: u64) -> ChunkId {
    if size <= LEAF {
        return ChunkId::new(ChunkForm::Raw, SHA.digest(&leaf(0, size)));
    }
    let lens = (0..size.div_ceil(LEAF)).map(|n| (n, LEAF.min(size - n * LEAF)));
    Tree::of(SHA, size, lens.map(|(n, len)| SHA.digest(&leaf(n, len))).collect()).unwrap().root()
}

/// Printed by `ipfs-unixfs-importer` 17.1.1 on Node 20.20, both with `{profile: 'unixfs-v1-2025'}` and with its parts spelt out:
/// `cidVersion: 1, rawLeaves: true, reduceSingleLeafToSelf: true, chunker: fixedSize({chunkSize: 1048576}), layout:
/// balanced({maxChildrenPerNode: 1024})`. The last has 1,025 leaves, so two levels of nodes.
const GOLDEN: [(u64, &str); 7] = [
    (0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    (1, "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu"),
    (LEAF - 1, "bafkreihcp2urda6c3b4krj4fiiuesdiixury37lbpbawgehkz5lttmmg6m"),
    (LEAF, "bafkreidrp2zedeckttxw75kos6o7v33e47omge3k64ljcdw4mbjq5iwrai"),
    (LEAF + 1, "bafybeifviteylpjxhdssazjmn4v25vfgcdzdi4rxdmnibcgdu37jo3ijey"),
    (10 * LEAF, "bafybeibzh6zwayghcacx2lyqyuxw26r6rmf62dpiepyihp3eustlruyyju"),
    (1025 * LEAF, "bafybeigytxakbgyrgjn53frrdvialv6jzeff7kljssq2xvwd5mr572txni"),
];

#[test]
fn ids_are_those_of_ipfs() {
    for (size, cid) in GOLDEN {
        assert_eq!(id_of(size).to_string(), cid, "{size} bytes");
    }
}

/// Prints `size cid` for each argument.
const IMPORTER: &str = r"
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
const M = 1 << 20
function leaf (n, len) { const b = new Uint8Array(len); for (let j = 0; j < len; j++) b[j] = j < 4 ? n >> (8 * j) : j * 31 + (j >> 8); return b }
async function * bytes (size) { for (let n = 0; n * M < size; n++) yield leaf(n, Math.min(M, size - n * M)) }
const store = { async put (cid) { return cid }, has: () => false }
const options = { cidVersion: 1, rawLeaves: true, reduceSingleLeafToSelf: true, chunker: fixedSize({ chunkSize: M }), layout: balanced({ maxChildrenPerNode: 1024 }) }
for (const size of process.argv.slice(1).map(Number)) {
  for await (const f of importer([{ path: 'x', content: bytes(size) }], store, options)) console.log(size, f.cid.toString())
}
";

#[test]
fn ids_are_those_of_the_installed_importer() {
    let Some(modules) = std::env::var_os("FIRN_TEST_NODE_MODULES").map(std::path::PathBuf::from) else {
        crate::testing::skip(
            "ids_are_those_of_the_installed_importer",
            "set FIRN_TEST_NODE_MODULES to a node_modules folder with ipfs-unixfs-importer 17.1.1",
        );
        return;
    };
    let sizes = GOLDEN.map(|(size, _)| size).into_iter().chain([2, 262_144, 2 * LEAF, 5 * LEAF - 1, 1024 * LEAF, 1024 * LEAF + 1]);
    let sizes: Vec<u64> = sizes.collect();
    let out = std::process::Command::new("node")
        .args(["--input-type=module", "-e", IMPORTER, "--"])
        .args(sizes.iter().map(u64::to_string))
        .current_dir(modules.parent().unwrap())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let want: Vec<String> = sizes.iter().map(|&size| format!("{size} {}", id_of(size))).collect();
    assert_eq!(String::from_utf8(out.stdout).unwrap().lines().collect::<Vec<_>>(), want);
}

fn digests(hash: HashAlgorithm, count: u64) -> Vec<Digest> {
    (0..count).map(|n| hash.digest(&n.to_le_bytes())).collect()
}

fn joined(tree: &Tree) -> Bytes {
    tree.nodes().iter().flat_map(|node| node.bytes.clone()).collect::<Vec<u8>>().into()
}

#[test]
fn layouts_are_what_trees_are() {
    let many = WIDTH * WIDTH;
    for leaves in [2, 3, WIDTH - 1, WIDTH, WIDTH + 1, 2 * WIDTH, 2 * WIDTH + 1, 5000, many + 1] {
        for last in [1, 127, 128, LEAF] {
            let size = (leaves - 1) * LEAF + last;
            let tree = Tree::of(SHA, size, digests(SHA, leaves)).unwrap();
            let layout = tree.layout();
            let flat = layout.levels().iter().flat_map(|level| (0..level.count).map(|i| (level.start(i), level.shape(i).encoded_len())));
            let mut end = 0;
            for ((start, len), node) in flat.zip(tree.nodes()) {
                assert_eq!((start, len), (end, node.bytes.len() as u64), "{leaves} leaves, last of {last}");
                assert!(node.bytes.len() < 100 << 10);
                end += len;
            }
            assert_eq!((layout.interior_len(), layout.nodes()), (end, tree.nodes().len() as u64));
            assert_eq!(layout.root().total(), size + end, "every byte is counted once");
        }
    }
}

#[test]
fn trees_come_back_from_their_nodes() {
    for hash in [SHA, HashAlgorithm::Blake3] {
        for leaves in [2, WIDTH, WIDTH + 1, 3 * WIDTH + 7] {
            let tree = Tree::of(hash, leaves * LEAF - 5, digests(hash, leaves)).unwrap();
            assert_eq!(Tree::read(&tree.root(), leaves * LEAF - 5, &joined(&tree)).unwrap(), tree);
        }
    }
}

#[test]
fn every_flip_in_a_node_is_noticed() {
    let size = 1026 * LEAF;
    let tree = Tree::of(SHA, size, digests(SHA, 1026)).unwrap();
    let good = joined(&tree);
    for at in (0..good.len()).step_by(13).chain(good.len() - 200..good.len()) {
        let mut bad = good.to_vec();
        bad[at] ^= 1 << (at % 8);
        assert_eq!(Tree::read(&tree.root(), size, &bad.into()).unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
    }
    for wrong in [size - 1, size + 1, 1025 * LEAF] {
        assert!(Tree::read(&tree.root(), wrong, &good).is_err(), "{wrong}");
    }
    assert!(Tree::read(&tree.root(), size, &good.slice(1..)).is_err());
}

#[test]
fn nodes_of_other_profiles_are_unsupported() {
    let shape = Layout::of(3 * LEAF).unwrap().root();
    let good = encode(shape, &digests(SHA, 3));
    assert_eq!(decode(shape, SHA, &good).unwrap(), digests(SHA, 3));
    assert_eq!(children(shape, SHA, &good).unwrap().len(), 3);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            // Either refused or another digest: nothing else in a node is free.
            if let Ok(found) = decode(shape, SHA, &bad) {
                assert_ne!(found, digests(SHA, 3), "byte {at} bit {bit}");
                assert_eq!(encode(shape, &found), bad);
            }
        }
    }
    assert_eq!(decode(shape, HashAlgorithm::Blake3, &good).unwrap_err().kind(), ErrorKind::Unsupported);
    // Data before links, as some tools write it.
    let data = good.len() - (shape.data_len() as usize + 2);
    let swapped = [&good[data..], &good[..data]].concat();
    assert_eq!(decode(shape, SHA, &swapped).unwrap_err().kind(), ErrorKind::Unsupported);
    for bad in [&b""[..], b"\x0a\x02\x08\x01", b"\x0a\x00", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", &good[..data]] {
        assert_eq!(decode(shape, SHA, bad).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert!(Tree::of(SHA, 3 * LEAF, digests(SHA, 2)).is_err());
    assert_eq!(Layout::of(LEAF).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(Layout::of(u64::MAX).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_walk_follows_the_links() {
    for leaves in [2, WIDTH + 1, 2 * WIDTH + 3, WIDTH * WIDTH + 2] {
        let tree = Tree::of(SHA, leaves * LEAF, digests(SHA, leaves)).unwrap();
        let mut stack = vec![(tree.root(), tree.layout().root())];
        for step in tree.depth_first() {
            let (want, shape) = stack.pop().unwrap();
            match step {
                TreeStep::Node(n) => {
                    let node = &tree.nodes()[n];
                    assert_eq!(node.id, want);
                    stack.extend(children(shape, SHA, &node.bytes).unwrap().into_iter().rev());
                }
                TreeStep::Leaf(n) => assert_eq!(ChunkId::new(ChunkForm::Raw, tree.leaves()[n as usize]), want),
            }
        }
        assert!(stack.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::testing::property_cases(2000)))]
    #[test]
    fn the_largest_layouts_do_not_overflow(size in LEAF + 1..=super::MAX_SIZE) {
        let layout = Layout::of(size).unwrap();
        let root = layout.root();
        prop_assert_eq!(root.total(), size + layout.interior_len());
        prop_assert!((2..=WIDTH).contains(&root.children()));
        prop_assert_eq!(root.each_child().map(|child| child.size).sum::<u64>(), size);
        prop_assert_eq!(child_form(root) == ChunkForm::Raw, layout.levels().len() == 1);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1u64..5 << 20) {
        let _ = decode(FileShape { height: 1, size }, SHA, &bytes);
        let _ = Tree::read(&ChunkId::new(ChunkForm::UnixFs, SHA.digest(&bytes)), size, &bytes.into());
    }
}
