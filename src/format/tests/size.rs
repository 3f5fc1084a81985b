//! What nodes of the expected shapes cost at rest. The bounds are those that `docs/format.md` promises.

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::samples::{self, HASH};
use crate::format::{Entry, FileKey, Leaf, Node};
use crate::id::ChunkForm;
use crate::key::MapKey;

/// 930 ranges that follow each other, of random lengths, as a scan of a source file finds them.
fn virtuals() -> Node<Entry> {
    let mut rng = SmallRng::seed_from_u64(2);
    let file = FileKey::new("nemo", ["2024/07/nemo_20240701.nc"]).unwrap();
    let mut end = 4096;
    let entries = (0..930).map(|i| {
        let (offset, length) = (end, rng.random_range(40_000..105_000));
        end += length;
        (MapKey::new(format!("ocean/thetao/c/17/{}/{}", 3 + i / 100, i % 100)), Entry::Virtual { file: file.clone(), offset, length })
    });
    Node::Leaf(Leaf { entries: entries.collect() })
}

fn chunks() -> Node<Entry> {
    let mut rng = SmallRng::seed_from_u64(3);
    let entries = (0..190).map(|i| {
        let id = samples::chunk(ChunkForm::Raw, &i.to_string());
        (MapKey::new(format!("ocean/thetao/c/17/{}/{}", i / 100, i % 100)), Entry::Chunk { id, size: rng.random_range(40_000..105_000) })
    });
    Node::Leaf(Leaf { entries: entries.collect() })
}

#[test]
fn a_node_at_rest_is_small() {
    for (node, rows, most) in [(virtuals(), 930.0, 2.15), (chunks(), 190.0, 34.5)] {
        let stored = node.encode_at_rest();
        let id = node.id(HASH);
        assert_eq!(Node::<Entry>::decode_verified(&stored, id).unwrap(), node);
        let each = f64::from(u32::try_from(stored.len()).unwrap()) / rows;
        assert!(each < most, "{each:.2} bytes a row, more than {most}");
    }
}

/// Not a test of anything but speed, which no shared machine can promise: prints what it measures.
#[test]
#[ignore = "prints timings; run with --ignored --nocapture"]
fn timings() {
    for (name, node) in [("930 virtual", virtuals()), ("190 chunks", chunks())] {
        let (canonical, stored, id) = (node.canonical(), node.encode_at_rest(), node.id(HASH));
        let time = |what: &str, run: &dyn Fn()| {
            let best = (0..200).map(|_| {
                let start = std::time::Instant::now();
                run();
                start.elapsed()
            });
            println!("{name}: {what} {:?}", best.min().unwrap());
        };
        println!("{name}: canonical {} bytes, stored {} bytes", canonical.len(), stored.len());
        time("canonical()", &|| drop(std::hint::black_box(node.canonical())));
        time("sha2-256", &|| {
            std::hint::black_box(HASH.digest(&canonical));
        });
        time("decode_canonical", &|| drop(std::hint::black_box(Node::<Entry>::decode_canonical(&canonical, HASH))));
        time("encode_at_rest", &|| drop(std::hint::black_box(node.encode_at_rest())));
        time("decode_verified", &|| drop(std::hint::black_box(Node::<Entry>::decode_verified(&stored, id))));
    }
}
