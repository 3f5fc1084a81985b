//! Every size around the edges, every way to damage an object, and the blocks that export and import see.

#![expect(clippy::cast_possible_truncation, reason = "chunks of tests fit into memory")]

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::io::{AsyncRead, ReadBuf};

use super::split::leaf_digests;
use super::write::object_parts;
use super::{ChunkStore, Hashed, Keep, PIECE, StreamedChunk, read_piece};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkForm, ChunkId, HashAlgorithm};
use crate::storage::{Expected, Extent, Local, LocalOptions, ObjectMeta, ObjectName, RegisterName, Replaced, Storage, Versioned};
use crate::unixfs::{LEAF, Tree, TreeStep};

/// Objects in a map; counts requests, how many of them ran at once, and bytes. Can pretend that each begins with many zeros.
#[derive(Debug, Default)]
struct Objects {
    zeros: u64,
    map: Mutex<HashMap<String, Bytes>>,
    gets: AtomicU64,
    under_way: AtomicU64,
    at_once: AtomicU64,
    bytes: AtomicU64,
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects")
    }
}

#[async_trait]
impl Storage for Objects {
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>> {
        let Some(bytes) = self.map.lock().unwrap().get(name.as_str()).cloned() else { return Ok(None) };
        let len = self.zeros + bytes.len() as u64;
        let range = match extent {
            Extent::Whole { at_most } if len > at_most => return Err(Error::corrupt(format!("{name} has more than {at_most} bytes"))),
            Extent::Whole { .. } => 0..len,
            Extent::Range(range) => range,
        };
        if range.end > len {
            return Err(Error::corrupt(format!("{name} ends before byte {}", range.end)));
        }
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.at_once.fetch_max(self.under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
        let stored = |at: u64| at.saturating_sub(self.zeros) as usize;
        let zeros = range.end.min(self.zeros).saturating_sub(range.start) as usize;
        let rest = bytes.slice(stored(range.start)..stored(range.end));
        Ok(Some(if zeros == 0 { rest } else { [Bytes::from(vec![0; zeros]), rest].concat().into() }))
    }
    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        self.map.lock().unwrap().insert(name.to_string(), parts.concat().into());
        Ok(())
    }
    async fn barrier(&self) -> Result<()> {
        Ok(())
    }
    fn list<'a>(&'a self, _: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        Box::pin(stream::empty())
    }
    async fn load(&self, _: &RegisterName) -> Result<Option<Versioned>> {
        Ok(None)
    }
    async fn replace(&self, _: &RegisterName, _: &Expected, _: Bytes) -> Replaced {
        Replaced::Refused
    }
}

fn store(hash: HashAlgorithm) -> (Arc<Objects>, ChunkStore) {
    let objects = Arc::new(Objects::default());
    (objects.clone(), ChunkStore::new(objects, hash))
}

fn sha() -> (Arc<Objects>, ChunkStore) {
    store(HashAlgorithm::Sha2_256)
}

/// No two leaves are equal.
fn payload(len: u64) -> Bytes {
    let mut state = len.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len as usize).collect::<Vec<u8>>().into()
}

impl Objects {
    fn object(&self, id: &ChunkId) -> Bytes {
        self.map.lock().unwrap()[ObjectName::chunk(id).as_str()].clone()
    }
    fn damage(&self, id: &ChunkId, bytes: Bytes) {
        self.map.lock().unwrap().insert(ObjectName::chunk(id).to_string(), bytes);
    }
}

/// Hashes and stores; the id and the length.
async fn write(chunks: &ChunkStore, bytes: Bytes) -> Result<(ChunkId, u64)> {
    let chunk = chunks.hash(bytes).await?;
    chunks.put(&chunk).await?;
    Ok((chunk.id(), chunk.size()))
}

/// Hashes on this thread alone.
fn hashed(hash: HashAlgorithm, bytes: Bytes) -> Hashed {
    let digests = leaf_digests(hash, &bytes);
    if bytes.len() as u64 > LEAF {
        return Hashed::from_tree(Tree::of(hash, bytes.len() as u64, digests).unwrap(), vec![bytes]);
    }
    Hashed::raw(hash.digest(&bytes), bytes)
}

const SIZES: [u64; 11] = [0, 1, 1025, LEAF - 1, LEAF, LEAF + 1, 2 * LEAF - 1, 2 * LEAF, 4 * LEAF + 1, 9 * LEAF + 77, 10 * LEAF];

#[tokio::test]
async fn chunks_of_every_size_come_back() {
    for hash in [HashAlgorithm::Sha2_256, HashAlgorithm::Blake3] {
        let (objects, chunks) = store(hash);
        for len in SIZES {
            let bytes = payload(len);
            let (id, size) = write(&chunks, bytes.clone()).await.unwrap();
            assert_eq!(size, len);
            assert_eq!(id, hashed(hash, bytes.clone()).id(), "one thread or many");
            assert_eq!(id.form() == ChunkForm::Raw, len <= LEAF);
            assert_eq!(objects.object(&id), object_parts(&hashed(hash, bytes.clone())).concat());
            assert_eq!(chunks.read(&id, len).await.unwrap(), bytes, "{len}");
        }
    }
}

#[tokio::test]
async fn an_object_is_laid_out_as_documented() {
    let (objects, chunks) = sha();
    let bytes = payload(3 * LEAF);
    let (id, size) = write(&chunks, bytes.clone()).await.unwrap();
    let object = objects.object(&id);
    let number = |at: usize| u64::from_le_bytes(object[at..at + 8].try_into().unwrap());
    let tail = object.len() - 40;
    assert_eq!(&object[tail..tail + 8], b"FIRNTREE");
    assert_eq!(object[tail + 8..tail + 16], [1, 0, 1, 0, 1, 0, 0, 0]);
    assert_eq!(number(tail + 16), size);
    let interior = number(tail + 24) as usize;
    assert_eq!(number(tail + 32), xxhash_rust::xxh3::xxh3_64(&object[tail - 4..tail + 32]));
    assert_eq!(object[tail - 4..tail], (interior as u32).to_le_bytes());
    assert_eq!(object.len(), bytes.len() + interior + 44);
    let node = &object[bytes.len()..bytes.len() + interior];
    assert_eq!(ChunkId::new(ChunkForm::UnixFs, HashAlgorithm::Sha2_256.digest(node)), id, "the root is the last node");
    let (small, _) = write(&chunks, payload(5000)).await.unwrap();
    assert_eq!(objects.object(&small), payload(5000), "one raw block is bare");
}

#[tokio::test]
async fn ranges_are_verified_and_frugal() {
    let (objects, chunks) = sha();
    for len in [1000, LEAF + 1, 5 * LEAF + 3] {
        let bytes = payload(len);
        let (id, _) = write(&chunks, bytes.clone()).await.unwrap();
        let edges = [0, 1, 999, LEAF - 1, LEAF, LEAF + 1, 2 * LEAF, 3 * LEAF + 5, 5 * LEAF, len - 1, len];
        for (start, end) in edges.iter().flat_map(|&a| edges.map(|b| (a, b))).filter(|&(a, b)| a <= b && b <= len) {
            objects.bytes.store(0, Ordering::Relaxed);
            objects.gets.store(0, Ordering::Relaxed);
            objects.at_once.store(0, Ordering::Relaxed);
            let got = chunks.read_range(&id, len, start..end).await.unwrap();
            assert_eq!(got, bytes.slice(start as usize..end as usize), "{start}..{end} of {len}");
            let gets = objects.gets.load(Ordering::Relaxed);
            assert!(gets <= 2, "leaves and interior nodes");
            assert_eq!(objects.at_once.load(Ordering::Relaxed), gets, "one round trip");
            assert!(objects.bytes.load(Ordering::Relaxed) <= end - start + 2 * LEAF + 1000);
        }
        for bad in [Range { start: 2, end: 1 }, 0..len + 1, len + 1..len + 1] {
            assert_eq!(chunks.read_range(&id, len, bad).await.unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}

/// Each part of a shard used to be read together with the interior nodes of the whole.
#[tokio::test]
async fn a_second_part_is_read_without_the_interior_nodes() {
    let (objects, chunks) = sha();
    let (len, other) = (3 * LEAF, 4 * LEAF);
    let bytes = payload(len);
    let (id, _) = write(&chunks, bytes.clone()).await.unwrap();
    let reader = ChunkStore::new(objects.clone(), HashAlgorithm::Sha2_256);
    for (range, gets) in [(5..9, 2), (LEAF + 1..LEAF + 2, 1), (len - 1..len, 1), (0..len, 1)] {
        objects.gets.store(0, Ordering::Relaxed);
        let got = reader.clone().read_range(&id, len, range.clone()).await.unwrap();
        assert_eq!(got, bytes.slice(range.start as usize..range.end as usize));
        assert_eq!(objects.gets.load(Ordering::Relaxed), gets, "{range:?}");
    }
    let wrong_size = reader.read_range(&id, other, 0..1).await.unwrap_err();
    assert_eq!(wrong_size.kind(), ErrorKind::Corrupt, "a known tree says nothing of another size");
    let mut bad = objects.object(&id).to_vec();
    bad[LEAF as usize] ^= 1;
    objects.damage(&id, bad.into());
    assert_eq!(reader.read_range(&id, len, 0..1).await.unwrap(), bytes.slice(0..1));
    assert_eq!(reader.read_range(&id, len, LEAF..LEAF + 1).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(reader.check(&id, len).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn ranges_see_the_damage_they_touch() {
    let (objects, chunks) = sha();
    let len = 4 * LEAF + 100;
    let bytes = payload(len);
    let (id, _) = write(&chunks, bytes.clone()).await.unwrap();
    let good = objects.object(&id);
    let ranges = [0..10, LEAF - 1..LEAF + 1, 2 * LEAF..3 * LEAF, 3 * LEAF + 1..len, 4 * LEAF + 99..len];
    for at in [0, 2 * LEAF + 7, 4 * LEAF + 3, len, len + 150, good.len() as u64 - 50, good.len() as u64 - 1] {
        let mut bad = good.to_vec();
        bad[at as usize] ^= 0x20;
        objects.damage(&id, bad.into());
        let interior = len..good.len() as u64 - 44;
        for range in &ranges {
            let aligned = range.start / LEAF * LEAF..range.end.next_multiple_of(LEAF).min(len);
            // A reader that knows the interior nodes already does not read them again.
            let fresh = ChunkStore::new(objects.clone(), HashAlgorithm::Sha2_256);
            let got = fresh.read_range(&id, len, range.clone()).await;
            if interior.contains(&at) || aligned.contains(&at) {
                assert_eq!(got.unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}, {range:?}");
            } else {
                assert_eq!(got.unwrap(), bytes.slice(range.start as usize..range.end as usize), "byte {at}, {range:?}");
            }
        }
    }
}

#[tokio::test]
async fn ranges_of_a_chunk_past_1024_leaves_are_verified() {
    let (hash, zeros, len) = (HashAlgorithm::Blake3, 1026 * LEAF, 1026 * LEAF + 5);
    let mut leaves = vec![hash.digest(&vec![0; LEAF as usize]); 1026];
    leaves.push(hash.digest(b"after"));
    let tree = Tree::of(hash, len, leaves).unwrap();
    let whole = object_parts(&Hashed::from_tree(tree.clone(), vec![Bytes::from_static(b"after")])).concat();
    let objects = Arc::new(Objects { zeros, ..Objects::default() });
    let (id, chunks) = (tree.root(), ChunkStore::new(objects.clone(), hash));
    objects.damage(&id, whole.clone().into());
    assert_eq!(chunks.tree(&id, len).await.unwrap().unwrap(), tree);
    assert_eq!(chunks.read_range(&id, len, 1024 * LEAF - 3..1024 * LEAF + 3).await.unwrap(), [0; 6][..]);
    assert_eq!(chunks.read_range(&id, len, zeros - 2..len).await.unwrap(), b"\0\0after"[..]);
    assert_eq!(chunks.leaf(&id, len, 1026).await.unwrap(), b"after"[..]);
    for at in [3, 100, whole.len() / 2] {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        objects.damage(&id, bad.into());
        let fresh = ChunkStore::new(objects.clone(), hash);
        assert_eq!(fresh.read_range(&id, len, zeros - 2..len).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn every_damage_is_an_error_that_names_the_chunk() {
    let (objects, chunks) = sha();
    for len in [1, 700, LEAF + 1, 3 * LEAF + 9] {
        let (id, _) = write(&chunks, payload(len)).await.unwrap();
        let good = objects.object(&id);
        let dense = if len < LEAF { 0 } else { len as usize };
        let flips = (dense..good.len()).chain((0..dense).step_by(300_007));
        for at in flips {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << (at % 8);
            objects.damage(&id, bad.into());
            let e = chunks.read(&id, len).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Corrupt, "byte {at}: {e}");
            assert!(e.to_string().contains(&id.to_string()), "{e}");
            if (at as u64) < len {
                assert_eq!(e.to_string().matches("bafkrei").count(), if len > LEAF { 2 } else { 3 }, "both digests: {e}");
                assert!(chunks.leaf(&id, len, at as u64 / LEAF).await.is_err());
            }
        }
        for cut in [0, 1, good.len() / 2, good.len() - 1].into_iter().chain((len as usize..good.len()).step_by(7)) {
            objects.damage(&id, good.slice(..cut.min(good.len() - 1)));
            assert_eq!(chunks.read(&id, len).await.unwrap_err().kind(), ErrorKind::Corrupt, "cut at {cut}");
            assert!(cut as u64 > len || chunks.read_range(&id, len, 0..len).await.is_err());
        }
        objects.damage(&id, [good.clone(), Bytes::from_static(b"x")].concat().into());
        assert_eq!(chunks.read(&id, len).await.unwrap_err().kind(), ErrorKind::Corrupt);
        objects.damage(&id, good);
        for wrong in [0, len - 1, len + 1, 2 * len + LEAF, u64::MAX] {
            if wrong != len {
                assert_eq!(chunks.read(&id, wrong).await.unwrap_err().kind(), ErrorKind::Corrupt, "{wrong} for {len}");
                assert!(chunks.read_range(&id, wrong, 0..wrong.min(1)).await.is_err() || wrong == 0);
            }
        }
    }
}

#[tokio::test]
async fn a_missing_chunk_is_not_found() {
    let (_, chunks) = sha();
    for len in [10, 2 * LEAF] {
        let id = hashed(HashAlgorithm::Sha2_256, payload(len)).id();
        for e in [chunks.read(&id, len).await.unwrap_err(), chunks.read_range(&id, len, 0..1).await.unwrap_err()] {
            assert_eq!(e.kind(), ErrorKind::NotFound);
            assert!(e.to_string().contains(&id.to_string()), "{e}");
        }
    }
}

/// Stores a chunk from its blocks in depth-first order, and nothing but those.
async fn assemble(chunks: &ChunkStore, id: ChunkId, size: u64, blocks: &[Bytes]) -> Result<()> {
    if id.form() == ChunkForm::Raw {
        return chunks.put_many(&[Hashed::from_block(id, size, blocks[0].clone())?]).await;
    }
    let mut assembler = chunks.assemble(id, size)?;
    for block in blocks {
        let Some(want) = assembler.wanted() else { return Err(Error::invalid("more blocks than the chunk has")) };
        if want.digest() != &want.digest().hash().digest(block) {
            return Err(Error::corrupt("the caller looks at the hashes"));
        }
        assembler.push(block.clone()).await?;
    }
    assembler.finish().await
}

/// The blocks of a stored chunk in depth-first order.
async fn blocks(source: &ChunkStore, id: &ChunkId, len: u64) -> Vec<Bytes> {
    let Some(tree) = source.tree(id, len).await.unwrap() else { return vec![source.leaf(id, len, 0).await.unwrap()] };
    assert_eq!(source.interior(id, len).await.unwrap().len(), tree.nodes().len());
    let mut blocks = Vec::new();
    for step in tree.depth_first() {
        blocks.push(match step {
            TreeStep::Node(n) => tree.nodes()[n].bytes.clone(),
            TreeStep::Leaf(n) => {
                let [leaf] = &source.leaves_of(&tree, n..n + 1).await.unwrap()[..] else { panic!("one leaf was asked for") };
                assert_eq!(*leaf, source.leaf(id, len, n).await.unwrap());
                leaf.clone()
            }
        });
    }
    blocks
}

#[tokio::test]
async fn blocks_go_out_and_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let local: Arc<dyn Storage> = Arc::new(Local::open(directory.path(), LocalOptions::default()).unwrap());
    let (_, source) = sha();
    for target in [Arc::new(Objects::default()), local] {
        let chunks = ChunkStore::new(target.clone(), HashAlgorithm::Sha2_256);
        for len in SIZES {
            let (id, _) = write(&source, payload(len)).await.unwrap();
            let blocks = blocks(&source, &id, len).await;
            assert_eq!(source.leaf(&id, len, len.div_ceil(LEAF).max(1)).await.unwrap_err().kind(), ErrorKind::Invalid);
            let extra = [&blocks[..], &[payload(3)]].concat();
            for bad in [&blocks[..blocks.len() - 1], &extra[..]].into_iter().filter(|_| len > LEAF) {
                assert!(assemble(&chunks, id, len, bad).await.is_err());
                assert_eq!(
                    target.get(&ObjectName::chunk(&id), Extent::ANY_LENGTH).await.unwrap(),
                    None,
                    "nothing is seen of what is not whole"
                );
            }
            assert!(assemble(&chunks, id, len + 1, &blocks).await.is_err());
            assemble(&chunks, id, len, &blocks).await.unwrap();
            assert_eq!(chunks.read(&id, len).await.unwrap(), payload(len));
            let object = target.get(&ObjectName::chunk(&id), Extent::ANY_LENGTH).await.unwrap().unwrap();
            assert_eq!(object, object_parts(&hashed(HashAlgorithm::Sha2_256, payload(len))).concat());
        }
    }
}

#[tokio::test]
async fn many_are_read_as_one_is() {
    let (stored, chunks) = sha();
    let mut wanted = Vec::new();
    for len in SIZES {
        wanted.push((write(&chunks, payload(len)).await.unwrap().0, len));
    }
    let absent = (hashed(HashAlgorithm::Sha2_256, payload(77)).id(), 77);
    wanted.insert(1, absent);
    let damaged = (write(&chunks, payload(78)).await.unwrap().0, 78);
    stored.damage(&damaged.0, payload(79).slice(1..));
    wanted.push(damaged);
    wanted.push((wanted[0].0, wanted[0].1 + 1));
    let mut kinds = Vec::new();
    for (found, (id, len)) in chunks.read_many(&wanted).await.into_iter().zip(&wanted) {
        let alone = chunks.read(id, *len).await;
        assert_eq!(found.as_ref().ok(), alone.as_ref().ok());
        assert_eq!(found.as_ref().err().map(ToString::to_string), alone.err().map(|e| e.to_string()));
        kinds.extend(found.err().map(|e| e.kind()));
    }
    assert_eq!(kinds, [ErrorKind::NotFound, ErrorKind::Corrupt, ErrorKind::Corrupt]);
}

#[tokio::test]
async fn leaves_are_read_together_and_each_is_checked() {
    let (stored, chunks) = sha();
    let len = 5 * LEAF + 17;
    let (id, _) = write(&chunks, payload(len)).await.unwrap();
    let tree = chunks.tree(&id, len).await.unwrap().unwrap();
    assert_eq!(chunks.leaves_of(&tree, 1..6).await.unwrap().concat(), payload(len).slice(LEAF as usize..));
    for bad in [0..7, 6..7, 2..2] {
        assert_eq!(chunks.leaves_of(&tree, bad).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let mut bad = stored.object(&id).to_vec();
    bad[3 * LEAF as usize] ^= 1;
    stored.damage(&id, bad.into());
    assert_eq!(chunks.leaves_of(&tree, 1..6).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(chunks.leaves_of(&tree, 1..3).await.unwrap().len(), 2);
}

#[tokio::test]
async fn repeated_leaves_are_wanted_each_time_and_can_be_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let local: Arc<dyn Storage> = Arc::new(Local::open(directory.path(), LocalOptions::default()).unwrap());
    for target in [Arc::new(Objects::default()), local] {
        let chunks = ChunkStore::new(target, HashAlgorithm::Sha2_256);
        let zeros = chunks.hash(vec![0; 3 * LEAF as usize].into()).await.unwrap();
        let node = zeros.tree().unwrap().nodes()[0].bytes.clone();
        let mut assembler = chunks.assemble(zeros.id(), 3 * LEAF).unwrap();
        assembler.push(node.clone()).await.unwrap();
        let leaf = assembler.wanted().unwrap();
        assert!(assembler.read(&leaf, Some(0)).await.is_err(), "it has not come yet");
        for n in 0..3 {
            assert_eq!((assembler.wanted(), assembler.leaves()), (Some(leaf), n));
            assembler.push(vec![0; LEAF as usize].into()).await.unwrap();
            assert_eq!(assembler.read(&leaf, Some(n)).await.unwrap(), vec![0; LEAF as usize]);
        }
        assert_eq!(assembler.read(&zeros.id(), None).await.unwrap(), node);
        assert_eq!(assembler.push(Bytes::new()).await.unwrap_err().kind(), ErrorKind::Invalid);
        assembler.finish().await.unwrap();
        assert_eq!(chunks.read(&zeros.id(), 3 * LEAF).await.unwrap(), vec![0; 3 * LEAF as usize]);
    }
}

#[tokio::test]
async fn files_of_other_profiles_are_unsupported() {
    // What `ipfs add --cid-version=1` of old makes of 300,000 bytes: two leaves of at most 256 KiB.
    let hash = HashAlgorithm::Sha2_256;
    let link = |digest, size: &[u8]| {
        let cid = ChunkId::new(ChunkForm::Raw, digest).to_bytes();
        [&[0x12, 42 + size.len() as u8, 0x0a, 36], &cid[..], &[0x12, 0, 0x18], size].concat()
    };
    let node = [
        &link(hash.digest(b"a"), &[0x80, 0x80, 0x10])[..],
        &link(hash.digest(b"b"), &[0xe0, 0xa7, 0x02]),
        &[0x0a, 14, 8, 2, 0x18, 0xe0, 0xa7, 0x12, 0x20, 0x80, 0x80, 0x10, 0x20, 0xe0, 0xa7, 0x02],
    ]
    .concat();
    let id = ChunkId::new(ChunkForm::UnixFs, hash.digest(&node));
    let mut assembler = sha().1.assemble(id, 2 * LEAF).unwrap();
    assert_eq!(assembler.push(node.into()).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(assembler.wanted(), Some(id), "as it was");
}

/// Gives so many bytes at most at a time, and fails after so many bytes, if told.
struct Trickle {
    bytes: Bytes,
    step: usize,
    fails: bool,
}

impl AsyncRead for Trickle {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.bytes.is_empty() && self.fails {
            return Poll::Ready(Err(std::io::Error::other("the pipe broke")));
        }
        let count = self.step.min(self.bytes.len()).min(out.remaining());
        out.put_slice(&self.bytes.split_to(count));
        Poll::Ready(Ok(()))
    }
}

async fn stream_in(chunks: &ChunkStore, mut reader: Trickle, keep: Keep) -> Result<StreamedChunk> {
    let head = read_piece(&mut reader).await?;
    assert_eq!(head.len(), PIECE);
    chunks.read_stream(head, &mut reader, keep).await
}

/// A store on local disk, one in memory, and where objects of the first lie.
fn both() -> (tempfile::TempDir, [Arc<dyn Storage>; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let local = Arc::new(Local::open(directory.path().join("r"), LocalOptions::default()).unwrap());
    (directory, [local, Arc::new(Objects::default())])
}

/// A value of 900 MB cost 1.9 GB of memory, because a chunk was hashed and written as a whole.
#[tokio::test]
async fn a_stream_becomes_the_chunk_that_its_bytes_are() {
    let (directory, stores) = both();
    for storage in stores {
        let chunks = ChunkStore::new(storage.clone(), HashAlgorithm::Blake3);
        for (len, step) in [(PIECE as u64, 7_777_777), (2 * PIECE as u64 + 5, 65_536)] {
            let bytes = payload(len);
            let reader = Trickle { bytes: bytes.clone(), step, fails: false };
            let chunk = stream_in(&chunks, reader, chunks.keep(None, directory.path())).await.unwrap();
            let expected = hashed(HashAlgorithm::Blake3, bytes.clone());
            assert_eq!((chunk.id(), chunk.size()), (expected.id(), len));
            let name = ObjectName::chunk(&chunk.id());
            assert_eq!(storage.get(&name, Extent::ANY_LENGTH).await.unwrap(), None, "nothing is there before it is stored");
            chunks.put_streamed(chunk).await.unwrap();
            assert!(storage.get(&name, Extent::ANY_LENGTH).await.unwrap().unwrap() == object_parts(&expected).concat());
            let pieces: Vec<_> = chunks.pieces(expected.id(), len, 3..len).try_collect().await.unwrap();
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE) && pieces.concat() == bytes.slice(3..));
        }
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no scratch file is left");
}

#[tokio::test]
async fn a_stream_that_breaks_leaves_nothing() {
    let (directory, stores) = both();
    for storage in stores {
        let chunks = ChunkStore::new(storage.clone(), HashAlgorithm::Sha2_256);
        let reader = || Trickle { bytes: payload(2 * PIECE as u64 + 9), step: 100_000, fails: true };
        let broken = stream_in(&chunks, reader(), chunks.keep(None, directory.path())).await.unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::Unavailable);
        let reader = Trickle { fails: false, ..reader() };
        drop(stream_in(&chunks, reader, chunks.keep(None, directory.path())).await.unwrap());
        let found: Vec<_> = storage.list("").try_collect().await.unwrap();
        assert_eq!(found, [], "neither an error nor a drop leaves an object");
    }
    let nursery = directory.path().join("r/chunks");
    assert_eq!(std::fs::read_dir(nursery).unwrap().count(), 0, "nor a temporary");
}

#[tokio::test]
async fn a_file_that_changes_before_it_is_read_again_is_not_stored() {
    let (directory, _) = both();
    let (stored, chunks) = sha();
    let path = directory.path().join("file");
    let len = PIECE as u64 + 3 * LEAF + 5;
    std::fs::write(&path, payload(len)).unwrap();
    for damage in [None, Some((LEAF + 7, 1)), Some((len - 1, 1)), Some((len / 2, 0))] {
        std::fs::write(&path, payload(len)).unwrap();
        let file = Arc::new(std::fs::File::open(&path).unwrap());
        let keep = chunks.keep(Some(&file), directory.path());
        assert!(matches!(keep, Keep::File(_)), "an object store gets the file by a second read, not through scratch space");
        let reader = Trickle { bytes: payload(len), step: PIECE, fails: false };
        let chunk = stream_in(&chunks, reader, keep).await.unwrap();
        let id = chunk.id();
        match damage {
            Some((at, 0)) => std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(at).unwrap(),
            Some((at, _)) => {
                let file = File::options().write(true).open(&path).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, b"\0\xff", at - 1).unwrap();
            }
            None => {}
        }
        let put = chunks.put_streamed(chunk).await;
        if damage.is_none() {
            put.unwrap();
            assert_eq!(stored.object(&id), object_parts(&hashed(HashAlgorithm::Sha2_256, payload(len))).concat());
            stored.map.lock().unwrap().clear();
        } else {
            assert_eq!(put.unwrap_err().kind(), ErrorKind::SourceChanged);
            assert!(stored.map.lock().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn pieces_of_a_chunk_read_its_tree_once_and_notice_damage() {
    let (stored, chunks) = sha();
    let len = 3 * PIECE as u64 + 17;
    let (id, _) = write(&chunks, payload(len)).await.unwrap();
    let before = stored.gets.load(Ordering::Relaxed);
    let pieces: Vec<_> = chunks.pieces(id, len, 0..len).try_collect().await.unwrap();
    assert_eq!(stored.gets.load(Ordering::Relaxed) - before, 1 + 4, "the tree, and each piece");
    assert_eq!(pieces.concat(), payload(len));
    assert_eq!(chunks.pieces(id, len, 5..5).try_collect::<Vec<_>>().await.unwrap(), [Bytes::new()]);
    let mut bad = stored.object(&id).to_vec();
    bad[2 * PIECE + 1] ^= 1;
    stored.damage(&id, bad.into());
    let mut pieces = std::pin::pin!(chunks.pieces(id, len, 0..len));
    for _ in 0..2 {
        assert_eq!(pieces.try_next().await.unwrap().unwrap().len(), PIECE);
    }
    assert_eq!(pieces.try_next().await.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// `verify` read a chunk whole, in the memory that it takes.
#[tokio::test]
async fn a_large_chunk_is_checked_by_ranges_to_the_last_byte() {
    let (stored, chunks) = sha();
    let len = 2 * PIECE as u64 + 5;
    let (id, _) = write(&chunks, payload(len)).await.unwrap();
    let whole = stored.object(&id);
    let gets = || stored.gets.load(Ordering::Relaxed);
    let before = gets();
    chunks.check(&id, len).await.unwrap();
    assert_eq!(gets() - before, 1 + 3, "tree and trailer, and each piece; what lies behind the end is refused");
    let end = whole.len();
    for at in [0, PIECE + 1, len as usize - 1, len as usize, len as usize + 300, end - 45, end - 1] {
        let mut bad = whole.to_vec();
        bad[at] ^= 1;
        stored.damage(&id, bad.into());
        assert_eq!(chunks.check(&id, len).await.unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
    }
    for bad in [whole.slice(..end - 1), [&whole[..], b"x"].concat().into()] {
        stored.damage(&id, bad);
        assert_eq!(chunks.check(&id, len).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    stored.map.lock().unwrap().clear();
    assert_eq!(chunks.check(&id, len).await.unwrap_err().kind(), ErrorKind::NotFound);
}
