//! Files that are not what they say: all refused, and no branch shows anything of them.

use firnline::{ErrorKind, HashAlgorithm, Repository};

use crate::support::{branch, car, empty, joined, sections, small};

/// Imports and expects a refusal that leaves no trace.
async fn refused(target: &Repository, file: &[u8], what: &str) -> firnline::Error {
    let error = target.import_car(file, branch("x")).await.map(|_| ()).expect_err(what);
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{what}: {error:?}");
    error
}

async fn shows_nothing(target: &Repository) {
    assert_eq!(target.read("x").await.unwrap_err().kind(), ErrorKind::NotFound);
    let branches = target.branches().await.unwrap();
    assert_eq!(branches.len(), 1);
    assert!(target.tags().await.unwrap().is_empty());
}

#[tokio::test]
async fn every_truncation_is_refused() {
    let (_source, exported) = small().await;
    let file = car(&exported).await;
    let target = empty(HashAlgorithm::Sha2_256).await;
    for len in 0..file.len() {
        refused(&target, &file[..len], &format!("cut to {len} of {} bytes", file.len())).await;
    }
    shows_nothing(&target).await;
}

#[tokio::test]
async fn every_flipped_byte_is_refused() {
    let (_source, exported) = small().await;
    let file = car(&exported).await;
    let target = empty(HashAlgorithm::Sha2_256).await;
    for at in 0..file.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = file.clone();
            bad[at] ^= flip;
            refused(&target, &bad, &format!("byte {at} of {} flipped by {flip:#x}", file.len())).await;
        }
    }
    shows_nothing(&target).await;
}

#[tokio::test]
async fn blocks_that_are_missing_are_refused() {
    let (_source, exported) = small().await;
    let (header, parts) = sections(&car(&exported).await);
    let target = empty(HashAlgorithm::Sha2_256).await;
    for at in 0..parts.len() {
        let mut fewer = parts.clone();
        fewer.remove(at);
        let error = refused(&target, &joined(&header, &fewer), &format!("without block {at}")).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    shows_nothing(&target).await;
}

/// The format allows a block to be in a file twice, and other tools write such files; they were refused as corrupt.
#[tokio::test]
async fn repeated_blocks_are_taken_once() {
    let (_source, exported) = crate::support::rich(HashAlgorithm::Sha2_256).await;
    let (header, parts) = sections(&car(&exported).await);
    let twice: Vec<_> = parts.iter().flat_map(|part| [part.clone(), part.clone()]).collect();
    let again: Vec<_> = parts.iter().chain(&parts).cloned().collect();
    let backwards: Vec<_> = again.iter().rev().cloned().collect();
    for (n, file) in [twice, again, backwards].into_iter().enumerate() {
        let target = empty(HashAlgorithm::Sha2_256).await;
        let imported = target.import_car(joined(&header, &file).as_slice(), branch("x")).await.unwrap();
        assert_eq!((imported.id, imported.blocks, imported.unlinked), (exported.id(), 2 * parts.len() as u64, 0), "{n}");
        assert_eq!(target.verify(firnline::VerifyScope::Everything).await.unwrap().findings, []);
        assert_eq!(car(&target.read("x").await.unwrap()).await, joined(&header, &parts));
    }
    // The second is verified like the first.
    let mut damaged = parts[2].clone();
    *damaged.last_mut().unwrap() ^= 1;
    let mut file = parts.clone();
    file.push(damaged);
    refused(&empty(HashAlgorithm::Sha2_256).await, &joined(&header, &file), "damaged the second time").await;
}

/// A file may hold blocks of other versions too. They are verified and left out.
#[tokio::test]
async fn blocks_that_nothing_links_are_left_out() {
    let (_source, exported) = small().await;
    let (header, parts) = sections(&car(&exported).await);
    let (_other, foreign) = crate::support::rich(HashAlgorithm::Sha2_256).await;
    let (_, foreign) = sections(&car(&foreign).await);
    for at in [0, 1, 2, foreign.len() - 1] {
        for place in [0, parts.len()] {
            let target = empty(HashAlgorithm::Sha2_256).await;
            let mut more = parts.clone();
            more.insert(place, foreign[at].clone());
            more.push(foreign[at].clone());
            let imported = target.import_car(joined(&header, &more).as_slice(), branch("x")).await.unwrap();
            assert_eq!((imported.id, imported.unlinked), (exported.id(), 1));
            assert_eq!(car(&target.read("x").await.unwrap()).await, joined(&header, &parts));
        }
    }
}

/// The directory in which a CAR file was unpacked was "unavailable", as if trying again could help.
#[tokio::test]
async fn a_directory_is_invalid() {
    let target = empty(HashAlgorithm::Sha2_256).await;
    let directory = tokio::fs::File::open(std::env::temp_dir()).await.unwrap();
    let error = target.import_car(directory, branch("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Invalid, "reading the CAR file failed at byte 0"));
}

/// The message of a compressed file showed the debug form of a decoder's error.
#[tokio::test]
async fn compressed_files_are_named() {
    let target = empty(HashAlgorithm::Sha2_256).await;
    let begins: [(&[u8], &str); 6] = [
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"\x28\xb5\x2f\xfd\x24", "zstd"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\x04\x22\x4d\x18\x64", "lz4"),
        (b"PK\x03\x04\x14", "zip"),
    ];
    for (begin, name) in begins {
        for len in [0, 10, 10_000] {
            let file = [begin, &crate::support::bytes(3, len)].concat();
            let error = target.import_car(file.as_slice(), branch("x")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert_eq!(error.to_string(), format!("not a CAR file: it is compressed with {name}; decompress it first"));
        }
    }
    // Other files are named by what is wrong in them, in words.
    for file in [
        b"<html><body>not found</body></html>                                  ".as_slice(),
        b"{\"a\": 1}",
        &[0x0b; 40],
        &[0x0a, 0xa2, 0x65, 0x72, 0x6f, 0x6f],
    ] {
        let error = refused(&target, file, "no CAR file").await;
        let text = format!("{error:?}");
        assert!(!text.contains(['{', '(']), "{text}");
    }
    shows_nothing(&target).await;
}

#[tokio::test]
async fn roots_that_are_no_version_are_refused() {
    let (_source, exported) = small().await;
    let file = car(&exported).await;
    let (header, parts) = sections(&file);
    let target = empty(HashAlgorithm::Sha2_256).await;
    let cid = |section: &[u8]| {
        let start = section.iter().position(|b| b & 0x80 == 0).unwrap() + 1;
        section[start..start + 36].to_vec()
    };
    let root = cid(&parts[0]);
    // The header is `…roots[ tag cid… ]…`: put the CID of another block in the place of the root.
    let at = header.windows(36).position(|window| window == root).unwrap();
    for part in &parts[1..] {
        let mut other = header.clone();
        other[at..at + 36].copy_from_slice(&cid(part));
        refused(&target, &joined(&other, &parts), "another root").await;
    }
    // Two roots.
    let list = header.windows(2).position(|window| window == [0x81, 0xd8]).unwrap();
    let one = header[list + 1..at + 36].to_vec();
    let mut two = header.clone();
    two[list] = 0x82;
    let behind = list + 1;
    two.splice(behind..behind, one);
    two[0] = u8::try_from(two.len() - 1).unwrap();
    assert!(two.len() < 129);
    let error = refused(&target, &joined(&two, &parts), "two roots").await;
    assert!(error.to_string().contains("2 roots"), "{error}");
    shows_nothing(&target).await;
}
