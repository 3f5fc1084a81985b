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
async fn blocks_that_are_missing_doubled_or_foreign_are_refused() {
    let (_source, exported) = small().await;
    let (header, parts) = sections(&car(&exported).await);
    let target = empty(HashAlgorithm::Sha2_256).await;
    for at in 0..parts.len() {
        let mut fewer = parts.clone();
        fewer.remove(at);
        let error = refused(&target, &joined(&header, &fewer), &format!("without block {at}")).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let mut more = parts.clone();
        more.push(parts[at].clone());
        let error = refused(&target, &joined(&header, &more), &format!("block {at} twice")).await;
        assert!(error.to_string().contains("twice") && error.to_string().contains("at byte"), "{error}");
    }
    // A block of another version, which hashes right and which nothing links.
    let (_other, foreign) = crate::support::rich(HashAlgorithm::Sha2_256).await;
    let (_, foreign) = sections(&car(&foreign).await);
    for at in [0, 1, 2, foreign.len() - 1] {
        for place in [0, parts.len()] {
            let mut more = parts.clone();
            more.insert(place, foreign[at].clone());
            let error = refused(&target, &joined(&header, &more), "a foreign block").await;
            assert!(error.to_string().contains("linked from nowhere"), "{error}");
        }
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
