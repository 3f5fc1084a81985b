//! Files of other tools, every flip and every cut of a small file, and a million hostile ones.

#![expect(clippy::cast_possible_truncation, reason = "files of tests fit into memory")]

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use super::reader::verify;
use super::{CarBlock, CarReader, CarWriter, MAX_BLOCK, Section, Sections, header_len, section_len};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkForm, ChunkId, Cid, HashAlgorithm, NodeId, parse_cid};
use crate::varint;

type Blocks = Vec<(Cid, Bytes, u64)>;

/// Everything up to the end or the first error.
async fn read(bytes: &[u8]) -> (Vec<Cid>, Blocks, Result<()>) {
    let mut blocks = Vec::new();
    let mut reader = match CarReader::open(bytes).await {
        Ok(reader) => reader,
        Err(e) => return (Vec::new(), blocks, Err(e)),
    };
    let roots = reader.roots().to_vec();
    let end = loop {
        match next(&mut reader).await {
            Ok(Some(block)) => {
                let data = (block.offset + section_len(&block.cid, block.data.len() as u64)) as usize - block.data.len();
                assert_eq!(bytes[data..data + block.data.len()], block.data, "offsets are those of the file");
                blocks.push((block.cid, block.data, block.offset));
            }
            Ok(None) => break Ok(()),
            Err(e) => {
                break Err(e);
            }
        }
    };
    (roots, blocks, end)
}

fn raw(hash: HashAlgorithm, data: &[u8]) -> (Cid, Bytes) {
    (ChunkId::new(ChunkForm::Raw, hash.digest(data)).cid(), Bytes::copy_from_slice(data))
}

fn contents() -> Vec<(Cid, Bytes)> {
    let node = b"\x83\x00\x80\x80";
    let v0 = Cid::new_v0(*raw(HashAlgorithm::Sha2_256, b"\x0a\x02\x08\x01").0.hash()).unwrap();
    vec![
        (NodeId::of(HashAlgorithm::Sha2_256, node).cid(), Bytes::from_static(node)),
        raw(HashAlgorithm::Sha2_256, b"a block of some length"),
        raw(HashAlgorithm::Sha2_256, b""),
        (v0, Bytes::from_static(b"\x0a\x02\x08\x01")),
        raw(HashAlgorithm::Blake3, &[7; 200]),
    ]
}

fn section(cid: &Cid, data: &[u8]) -> Result<Sections> {
    let mut sections = Sections::default();
    sections.push(cid, data).map(|()| sections)
}

/// The next block, verified.
async fn next<R: AsyncRead + Unpin>(reader: &mut CarReader<R>) -> Result<Option<CarBlock>> {
    reader.next_section().await?.map(Section::verify).transpose()
}

async fn written(blocks: &[(Cid, Bytes)]) -> Vec<u8> {
    let mut writer = CarWriter::start(Vec::new(), &[blocks[0].0]).await.unwrap();
    let mut expected = header_len(&[blocks[0].0]).unwrap();
    for (cid, data) in blocks {
        let begin = writer.write(&section(cid, data).unwrap()).await.unwrap();
        assert_eq!(begin, expected);
        expected += section_len(cid, data.len() as u64);
    }
    let (out, len) = writer.finish().await.unwrap();
    assert_eq!((out.len() as u64, len), (expected, expected));
    out
}

/// The same as version 2, with padding before the data and an index after it.
fn wrapped(v1: &[u8], padding: usize, index: &[u8]) -> Vec<u8> {
    let offset = 51 + padding as u64;
    let end = offset + v1.len() as u64;
    let numbers = [offset, v1.len() as u64, if index.is_empty() { 0 } else { end }];
    [b"\x0a\xa1gversion\x02", &[0; 16][..], &numbers.map(u64::to_le_bytes).concat(), &vec![0; padding], v1, index].concat()
}

#[tokio::test]
async fn what_is_written_is_read() {
    let blocks = contents();
    let car = written(&blocks).await;
    for (bytes, base) in [(car.clone(), 0), (wrapped(&car, 0, b""), 51), (wrapped(&car, 1000, b"index"), 1051)] {
        let (roots, found, end) = read(&bytes).await;
        end.unwrap();
        assert_eq!(roots, [blocks[0].0]);
        let mut offset = base + header_len(&roots).unwrap();
        assert_eq!(found.len(), blocks.len());
        for ((cid, data), (found_cid, found_data, at)) in blocks.iter().zip(found) {
            assert_eq!((cid, data, offset), (&found_cid, &found_data, at));
            offset += section_len(cid, data.len() as u64);
        }
    }
    assert_eq!(car, written(&blocks).await, "the same every time");
}

#[tokio::test]
async fn limits_hold_on_both_sides() {
    let (cid, largest) = raw(HashAlgorithm::Blake3, &vec![1; MAX_BLOCK]);
    let mut car = written(&[(cid, largest.clone())]).await;
    assert_eq!(read(&car).await.1[0].1, largest);
    let (over, data) = raw(HashAlgorithm::Blake3, &vec![1; MAX_BLOCK + 1]);
    assert_eq!(section(&over, &data).unwrap_err().kind(), ErrorKind::Invalid);
    car.truncate(header_len(&[cid]).unwrap() as usize);
    varint::put(&mut car, 36 + data.len() as u64);
    car.extend(over.to_bytes());
    car.extend(&data);
    assert_eq!(read(&car).await.2.unwrap_err().kind(), ErrorKind::Corrupt);

    for roots in [0, 3000] {
        assert_eq!(CarWriter::start(Vec::new(), &vec![cid; roots]).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let many = vec![cid; 1500];
    let (out, _) = CarWriter::start(Vec::new(), &many).await.unwrap().finish().await.unwrap();
    assert_eq!(read(&out).await.0, many);
    let mut long = Vec::new();
    varint::put(&mut long, 70_000);
    long.resize(80_000, 0);
    assert_eq!(read(&long).await.2.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn only_strict_headers_are_read() {
    let (cid, _) = raw(HashAlgorithm::Sha2_256, b"");
    let link = [b"\xd8\x2a\x58\x25\x00", &cid.to_bytes()[..]].concat();
    let roots = [b"eroots\x81", &link[..]].concat();
    let cases: [(&str, Vec<u8>, ErrorKind); 10] = [
        ("no root", b"\xa2eroots\x80gversion\x01".to_vec(), ErrorKind::Corrupt),
        ("no roots", b"\xa1gversion\x01".to_vec(), ErrorKind::Corrupt),
        ("no version", [b"\xa1", &roots[..]].concat(), ErrorKind::Corrupt),
        ("version 2 with roots", [b"\xa2", &roots[..], b"gversion\x02"].concat(), ErrorKind::Unsupported),
        ("version 3", [b"\xa2", &roots[..], b"gversion\x03"].concat(), ErrorKind::Unsupported),
        ("other order", [b"\xa2gversion\x01", &roots[..]].concat(), ErrorKind::Corrupt),
        ("long number", [b"\xa2", &roots[..], b"gversion\x18\x01"].concat(), ErrorKind::Corrupt),
        ("another field", [b"\xa3axf6", &roots[..], b"gversion\x01"].concat(), ErrorKind::Corrupt),
        ("more bytes", [b"\xa2", &roots[..], b"gversion\x01\x00"].concat(), ErrorKind::Corrupt),
        ("deep", [b"\xa2eroots", &vec![0x81; 60_000][..]].concat(), ErrorKind::Corrupt),
    ];
    for (what, header, kind) in cases {
        let mut car = Vec::new();
        varint::put(&mut car, header.len() as u64);
        car.extend(header);
        let e = read(&car).await.2.expect_err(what);
        assert_eq!(e.kind(), kind, "{what}: {e}");
        assert!(e.to_string().contains("at byte 0"), "{what}: {e}");
        assert!(read(&wrapped(&car, 0, b"")).await.2.unwrap_err().to_string().contains("at byte 51"));
    }
}

#[tokio::test]
async fn every_cut_is_noticed_except_between_sections() {
    let blocks = contents();
    let car = written(&blocks).await;
    let (_, found, _) = read(&car).await;
    let ends: Vec<usize> = found.iter().map(|b| b.2 as usize).chain([car.len()]).collect();
    for cut in 0..=car.len() {
        let (_, before, end) = read(&car[..cut]).await;
        if let Some(count) = ends.iter().position(|&end| end == cut) {
            end.unwrap();
            assert_eq!(before, found[..count]);
        } else {
            let e = end.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Corrupt);
            assert!(e.to_string().contains("truncated") && e.to_string().contains("at byte"), "{e}");
            assert!(cut < ends[0] || e.to_string().contains(&format!("at byte {cut},")), "{e}");
        }
        // Version 2 says how long the data is.
        let (v2, data_end) = (wrapped(&car, 3, b"index"), 54 + car.len());
        for cut in [cut, data_end - cut.min(data_end)] {
            assert_eq!(read(&v2[..cut]).await.2.is_ok(), cut >= data_end, "version 2 cut at {cut}");
        }
    }
}

#[tokio::test]
async fn every_flip_is_refused_or_changes_a_cid() {
    let blocks = contents();
    let car = written(&blocks).await;
    let (roots, found, _) = read(&car).await;
    let cids: Vec<Cid> = blocks.iter().map(|b| b.0).collect();
    // The codec of a CID is covered by no hash, nor is a root: both make a CID that the rest of the file does not know.
    let header = header_len(&roots).unwrap() as usize;
    let root = header - 9 - 36..header - 9;
    assert_eq!(car[root.clone()], roots[0].to_bytes());
    let codecs: Vec<usize> = found
        .iter()
        .map(|(cid, data, at)| (section_len(cid, data.len() as u64) - data.len() as u64 - cid.encoded_len() as u64 + at + 1) as usize)
        .collect();
    for at in 0..car.len() {
        for xor in 1..=255u8 {
            let mut bad = car.clone();
            bad[at] ^= xor;
            let (bad_roots, blocks, end) = read(&bad).await;
            if let Err(e) = end {
                assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{e}");
                assert!(e.to_string().contains("at byte "), "{e}");
                continue;
            }
            assert!(root.contains(&at) || codecs.contains(&at), "byte {at} xor {xor:#x} went unnoticed");
            assert!(bad_roots != roots || blocks.iter().map(|b| b.0).ne(cids.iter().copied()));
        }
    }
}

#[tokio::test]
async fn every_flip_of_a_version_2_header_is_refused() {
    let car = wrapped(&written(&contents()).await, 0, b"");
    for at in 0..51 {
        for bit in 0..8 {
            let mut bad = car.clone();
            bad[at] ^= 1 << bit;
            // Whether the index lists every block, and where an index lies that nobody reads, changes nothing.
            let harmless = (at, bit) == (11, 7) || at >= 43;
            let result = read(&bad).await.2;
            assert!(result.is_err() || harmless, "byte {at} bit {bit}");
            assert!(result.is_ok() || result.unwrap_err().to_string().contains("at byte"));
        }
    }
}

/// `len` bytes of anything that follow `head`, counting how many were taken.
struct Endless<'a> {
    head: &'a [u8],
    taken: usize,
}

impl AsyncRead for Endless<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let count = if self.head.is_empty() { out.remaining() } else { out.remaining().min(self.head.len()) };
        match self.head.split_at(count.min(self.head.len())) {
            (b"", _) => out.put_slice(&vec![0xff; count]),
            (now, later) => {
                out.put_slice(now);
                self.head = later;
            }
        }
        self.taken += count;
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn lengths_that_lie_cost_nothing() {
    let (cid, _) = raw(HashAlgorithm::Sha2_256, b"");
    let (head, _) = CarWriter::start(Vec::new(), &[cid]).await.unwrap().finish().await.unwrap();
    for len in [0, 1, 35, (MAX_BLOCK + 101) as u64, 4 << 20, 1 << 40, u64::MAX >> 1] {
        let mut bytes = head.clone();
        varint::put(&mut bytes, len);
        let mut source = Endless { head: &bytes, taken: 0 };
        let mut reader = CarReader::open(&mut source).await.unwrap();
        let e = reader.next_section().await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        assert!(e.to_string().contains(&format!("at byte {}", head.len())), "{e}");
        assert_eq!(reader.next_section().await.unwrap_err().kind(), ErrorKind::Invalid, "an error is final");
        drop(reader);
        assert!(source.taken <= 256 << 10, "{len}: {} bytes read", source.taken);
    }
    for (prefix, what) in [(&[0xff; 12][..], "is too long"), (&[0x80, 0x80, 0x00], "shortest"), (&[0x81, 0x00], "shortest")] {
        let e = read(&[&head, prefix].concat()).await.2.unwrap_err();
        assert!(e.to_string().contains(what), "{e}");
    }
}

/// A source that only fails.
struct Failing;

impl AsyncRead for Failing {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(std::io::Error::other("the line is dead")))
    }
}

#[tokio::test]
async fn failing_sources_are_unavailable() {
    let car = written(&contents()).await;
    for cut in [0, 5, 40, car.len() - 1, car.len()] {
        let found = async {
            let mut reader = CarReader::open(car[..cut].chain(Failing)).await?;
            while reader.next_section().await?.is_some() {}
            Ok::<_, Error>(())
        };
        let e = found.await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
        assert!(std::error::Error::source(&e).is_some());
    }
}

#[test]
fn other_hashes_are_unsupported() {
    let multihash = |code, digest: &[u8]| Cid::new_v1(0x55, cid::multihash::Multihash::wrap(code, digest).unwrap());
    for cid in [multihash(0, b"inline"), multihash(0xb220, &[0; 32]), multihash(0x12, &[0; 20]), multihash(0x13, &[0; 64])] {
        assert_eq!(verify(&cid, b"inline").unwrap_err().kind(), ErrorKind::Unsupported);
    }
    let e = verify(&raw(HashAlgorithm::Sha2_256, b"a").0, b"b").unwrap_err();
    assert_eq!(e.to_string().matches("bafkrei").count(), 2, "{e}");
}

/// A long identity CID was said to be damage, and a short one to have "hash 0x0".
#[tokio::test]
async fn identity_cids_of_any_length_are_unsupported_and_named() {
    let head = written(&contents()[..1]).await;
    let section = |code: &[u8], len: u64, digest: usize| {
        let mut cid = [&[1, 0x55][..], code].concat();
        varint::put(&mut cid, len);
        cid.extend(vec![7; digest]);
        let mut car = head.clone();
        varint::put(&mut car, cid.len() as u64);
        [car, cid].concat()
    };
    for len in [0, 3, 64, 65, 100, 128, 200, 300, 100_000] {
        let e = read(&section(&[0], len, usize::try_from(len).unwrap())).await.2.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unsupported, "{len}: {e}");
        assert!(e.to_string().contains(&format!("at byte {}", head.len())), "{e}");
        assert!(e.to_string().contains(&format!("an identity CID of {len} bytes")), "{e}");
    }
    let e = read(&section(&[0x13], 100, 100)).await.2.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert!(e.to_string().contains("hash 0x13 with 100 bytes"), "{e}");
    // A CID that its section does not hold is none.
    for bad in [section(&[0], 100, 99), section(&[0], 3, 2), section(&[0x80, 0x00], 100, 100)] {
        assert_eq!(read(&bad).await.2.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn cids_have_one_form() {
    let (cid, data) = raw(HashAlgorithm::Sha2_256, b"data");
    let (head, _) = CarWriter::start(Vec::new(), &[cid]).await.unwrap().finish().await.unwrap();
    let digest = &cid.hash().digest();
    for long in [&b"\x01\xd5\x00\x12\x20"[..], b"\x81\x00\x55\x12\x20", b"\x01\x55\x92\x00\x20", b"\x01\x55\x12\xa0\x00"] {
        let mut car = head.clone();
        varint::put(&mut car, (long.len() + 32 + data.len()) as u64);
        car.extend([long, digest, &data].concat());
        let e = read(&car).await.2.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        assert!(e.to_string().contains(&format!("at byte {}", head.len())), "{e}");
    }
}

fn fixture(test: &str, name: &str) -> Option<Vec<u8>> {
    let path = crate::testing::shared().map(|shared| shared.join("fixtures/car").join(name)).filter(|path| path.exists());
    if path.is_none() {
        crate::testing::skip(test, &format!("fixtures/car/{name} is not beside the crate"));
    }
    path.map(|path| std::fs::read(path).unwrap())
}

#[tokio::test]
async fn basic_fixtures_are_read_as_their_notes_say() {
    for name in ["carv1-basic", "carv2-basic"] {
        let test = "basic_fixtures_are_read_as_their_notes_say";
        let (Some(car), Some(notes)) = (fixture(test, &format!("{name}.car")), fixture(test, &format!("{name}.json"))) else { return };
        let notes: serde_json::Value = serde_json::from_slice(&notes).unwrap();
        let cid = |v: &serde_json::Value| parse_cid(v["/"].as_str().unwrap()).unwrap();
        let (roots, blocks, end) = read(&car).await;
        end.unwrap();
        assert_eq!(roots, notes["header"]["roots"].as_array().unwrap().iter().map(cid).collect::<Vec<_>>());
        let listed = notes["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), listed.len());
        for ((found, data, offset), note) in blocks.iter().zip(listed) {
            assert_eq!(*found, cid(&note["cid"]));
            assert_eq!(*offset, note["offset"].as_u64().unwrap());
            assert_eq!(data.len() as u64, note["blockLength"].as_u64().unwrap());
            assert_eq!(section_len(found, data.len() as u64), note["length"].as_u64().unwrap());
        }
        // Written again they are the same bytes.
        let mut writer = CarWriter::start(Vec::new(), &roots).await.unwrap();
        for (cid, data, _) in &blocks {
            writer.write(&section(cid, data).unwrap()).await.unwrap();
        }
        let inner = notes["header"]["dataOffset"].as_u64().unwrap_or(0) as usize;
        let size = notes["header"]["dataSize"].as_u64().map_or(car.len(), |size| size as usize);
        assert_eq!(writer.finish().await.unwrap().0, car[inner..inner + size]);
    }
}

#[tokio::test]
async fn fixtures_that_cannot_be_verified_are_refused() {
    // The samples hash with blake2b-256: framed well, but nothing here can check them.
    for (name, first) in [("sample-v1.car", 61), ("sample-v2-indexless.car", 112), ("sample-wrapped-v2.car", 112)] {
        let Some(car) = fixture("fixtures_that_cannot_be_verified_are_refused", name) else { return };
        let (roots, blocks, end) = read(&car).await;
        assert_eq!((roots.len(), blocks.len()), (1, 0), "{name}");
        let e = end.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        assert!(e.to_string().contains(&format!("at byte {first}")), "{e}");
    }
    for (name, what) in [("badsectionlength.car", "no root"), ("sample-corrupt-pragma.car", "truncated")] {
        let Some(car) = fixture("fixtures_that_cannot_be_verified_are_refused", name) else { return };
        let e = read(&car).await.2.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        assert!(e.to_string().contains(what), "{e}");
    }
    // With a root before it, the section that says it has 2^38 bytes is met.
    let Some(car) = fixture("fixtures_that_cannot_be_verified_are_refused", "badsectionlength.car") else { return };
    let head = written(&contents()[..1]).await;
    let e = read(&[&head, &car[18..]].concat()).await.2.unwrap_err();
    assert!(e.to_string().contains(&format!("at byte {}", head.len())), "{e}");
}

/// One hostile file: a good one with bytes changed, lengths replaced, pieces cut, doubled or moved.
fn mutated(good: &[u8], rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..bytes.len().max(1)).min(bytes.len());
        let to = (at + rng.random_range(0..40)).min(bytes.len());
        match rng.random_range(0..7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..to)),
            2 => {
                let piece = bytes[at..to].to_vec();
                let target = rng.random_range(0..=bytes.len());
                bytes.splice(target..target, piece);
            }
            3 => {
                let mut lie = Vec::new();
                varint::put(&mut lie, rng.random::<u64>() >> rng.random_range(1..64));
                bytes.splice(at..to.min(at + 1), lie);
            }
            _ => bytes.iter_mut().skip(at).take(rng.random_range(1..4)).for_each(|b| *b = rng.random()),
        }
    }
    bytes
}

#[tokio::test]
async fn hostile_files_are_errors() {
    let cases = crate::testing::hostile_cases();
    let v1 = written(&contents()).await;
    let v2 = wrapped(&v1, 9, b"index");
    let known: std::collections::HashMap<_, _> = contents().into_iter().map(|(cid, data)| (cid.hash().to_bytes(), data)).collect();
    let mut rng = SmallRng::seed_from_u64(0x0f12);
    let mut refused = 0;
    for case in 0..cases {
        let bytes = mutated(if case % 4 == 0 { &v2 } else { &v1 }, &mut rng);
        let (_, blocks, end) = read(&bytes).await;
        refused += u64::from(end.is_err());
        if let Err(e) = end {
            assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{e}");
            assert!(e.to_string().contains("at byte ") && !e.to_string().contains('\n'), "{e}");
        }
        for (cid, data, _) in blocks {
            assert_eq!(known.get(&cid.hash().to_bytes()), Some(&data), "only true blocks come out");
        }
    }
    assert!(refused > cases / 2, "{refused} of {cases}");
}
