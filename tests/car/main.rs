//! Versions as CAR files: the same bytes everywhere, whole round trips, and nothing believed that is not proved.

#![cfg(test)]

mod chains;
mod flight;
mod forge;
mod node;
#[path = "../support/mod.rs"]
mod shared;
mod support;
mod tampered;

use firnline::{CommitOptions, ErrorKind, HashAlgorithm, ImportTarget, MoveOp, SnapshotId};
use futures::{StreamExt, TryStreamExt};
use support::{branch, bytes, car, contents, empty, joined, key, rich, sections, small};

#[tokio::test]
async fn an_export_is_the_same_every_time_and_as_long_as_planned() {
    for hash in [HashAlgorithm::Sha2_256, HashAlgorithm::Blake3] {
        let (_repository, snapshot) = rich(hash).await;
        let plan = snapshot.plan_car().await.unwrap().summary();
        let first = car(&snapshot).await;
        assert_eq!(first, car(&snapshot).await);
        assert_eq!(plan.bytes, first.len() as u64);
        let (_, sections) = sections(&first);
        assert_eq!(plan.blocks, sections.len() as u64);
        assert_eq!(plan.root, snapshot.id());
        // The payload, each leaf once (`large` holds those of b/leaf and d/first), and little else.
        assert!(sections.iter().all(|section| section.len() < 2 << 20));
        // In another repository the same work gives the same bytes.
        let (_other, again) = rich(hash).await;
        assert_eq!(car(&again).await, first);
    }
}

#[tokio::test]
async fn no_block_is_exported_twice() {
    let (_repository, snapshot) = rich(HashAlgorithm::Sha2_256).await;
    let (_, sections) = sections(&car(&snapshot).await);
    let mut seen = std::collections::HashSet::new();
    assert!(sections.iter().all(|section| seen.insert(section.clone())));
    // zeros: one leaf for two places.
    let zeros = sections.iter().filter(|section| section.len() > 2000 && section[100..1100].iter().all(|b| *b == 0)).count();
    assert_eq!(zeros, 1);
}

#[tokio::test]
async fn a_version_goes_to_an_empty_repository_and_on_from_there() {
    for hash in [HashAlgorithm::Sha2_256, HashAlgorithm::Blake3] {
        let (source, exported) = rich(hash).await;
        let file = car(&exported).await;
        let target = empty(hash).await;
        let imported = target.import_car(file.as_slice(), branch("copy/of")).await.unwrap();
        assert_eq!(imported.id, exported.id());
        assert_eq!((imported.moved.op, imported.moved.to), (MoveOp::Import, Some(exported.id())));
        assert_eq!(imported.bytes, file.len() as u64);
        assert!(imported.is_shallow);

        let copy = target.read("copy/of").await.unwrap();
        assert_eq!(copy.record(), exported.record());
        assert_eq!(contents(&copy).await, contents(&exported).await);
        let files: Vec<_> = copy.dependencies().try_collect().await.unwrap();
        let there: Vec<_> = exported.dependencies().try_collect().await.unwrap();
        assert_eq!((files.len(), &files), (15, &there));
        let time = exported.record().time;
        let since = async |repository: &firnline::Repository| repository.who_uses("s3://none/", true).await.unwrap().since;
        assert_eq!((since(&target).await, since(&source).await), (Some(time), None), "what is not here was not asked");
        assert_eq!(car(&copy).await, file, "an imported version exports as it came");

        // The log knows this version, and says that it knows nothing before it.
        let log: Vec<_> = copy.log().collect().await;
        assert_eq!(log.len(), 2);
        assert_eq!(log[0].as_ref().unwrap().id, exported.id());
        assert_eq!(log[1].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(target.read("copy/of~1").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(target.read(&format!("{}@2000-01-01", exported.id())).await.unwrap_err().kind(), ErrorKind::NotFound);
        target.create_branch(&"else".parse().unwrap(), &copy).await.unwrap();

        let session = target.write("copy/of").await.unwrap();
        session.set(&key("new"), bytes(4, 5000)).await.unwrap();
        session.delete(&key("v/3")).await.unwrap();
        let next = session.commit("third").await.unwrap();
        assert_eq!(next.record().since, Some(exported.record().time));
        assert_eq!(next.record().parents, [exported.id()]);
        let session = target.write("copy/of").await.unwrap();
        session.set(&key("newer"), b"x".to_vec()).await.unwrap();
        let last = session.commit(CommitOptions::from("fourth")).await.unwrap();
        assert_eq!(last.record().since, Some(exported.record().time));
        let log: Vec<_> = last.log().collect().await;
        let ids: Vec<Option<SnapshotId>> = log.iter().map(|entry| entry.as_ref().ok().map(|entry| entry.id)).collect();
        assert_eq!(ids, [Some(last.id()), Some(next.id()), Some(exported.id()), None]);
        assert_eq!(target.read("copy/of~2").await.unwrap().id(), exported.id());
        assert_eq!(target.read("copy/of~3").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(car(&target.read("copy/of~2").await.unwrap()).await, file);

        // Where all came from the version is known, and so is what came before it: back again it is not shallow.
        let back = source.import_car(file.as_slice(), branch("back")).await.unwrap();
        assert!(!back.is_shallow);
        let log: Vec<_> = source.read("back").await.unwrap().log().try_collect().await.unwrap();
        assert_eq!(log.len(), 3);
    }
}

#[tokio::test]
async fn a_line_imported_oldest_first_has_its_history() {
    let (source, _) = rich(HashAlgorithm::Sha2_256).await;
    let target = empty(HashAlgorithm::Sha2_256).await;
    let mut shallow = Vec::new();
    for back in [2, 1, 0] {
        let file = car(&source.read(&format!("main~{back}")).await.unwrap()).await;
        shallow.push(target.import_car(file.as_slice(), branch("line")).await.unwrap().is_shallow);
    }
    assert_eq!(shallow, [false, false, false]);
    let log: Vec<_> = target.read("line").await.unwrap().log().try_collect().await.unwrap();
    assert_eq!(log.len(), 3);
    let moves = target.moves(&firnline::Ref::branch("line".parse().unwrap())).await.unwrap();
    assert!(moves.iter().all(|m| m.op == MoveOp::Import));
    assert_eq!(moves[2].from, moves[1].to);
}

#[tokio::test]
async fn a_tag_is_made_once() {
    let (_source, exported) = small().await;
    let file = car(&exported).await;
    let target = empty(HashAlgorithm::Sha2_256).await;
    let tag = ImportTarget::Tag("v1".parse().unwrap());
    target.import_car(file.as_slice(), tag.clone()).await.unwrap();
    assert_eq!(target.read("tag:v1").await.unwrap().id(), exported.id());
    let error = target.import_car(file.as_slice(), tag).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn version_2_is_read_like_version_1() {
    let (_source, exported) = small().await;
    let inner = car(&exported).await;
    let mut file = b"\x0a\xa1gversion\x02".to_vec();
    file.extend([0; 16]);
    file.extend(51_u64.to_le_bytes());
    file.extend((inner.len() as u64).to_le_bytes());
    file.extend((51 + inner.len() as u64).to_le_bytes());
    file.extend(&inner);
    file.extend(b"an index");
    let target = empty(HashAlgorithm::Sha2_256).await;
    let imported = target.import_car(file.as_slice(), branch("two")).await.unwrap();
    assert_eq!(imported.id, exported.id());
}

#[tokio::test]
async fn hashes_are_never_mixed() {
    let (_source, exported) = rich(HashAlgorithm::Blake3).await;
    let target = empty(HashAlgorithm::Sha2_256).await;
    let error = target.import_car(car(&exported).await.as_slice(), branch("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("blake3"), "{error}");
}

#[tokio::test]
async fn other_orders_are_sorted_out() {
    let (_source, exported) = rich(HashAlgorithm::Sha2_256).await;
    let (header, mut parts) = sections(&car(&exported).await);
    for turn in 0..3 {
        match turn {
            0 => parts.reverse(),
            1 => parts.rotate_left(7),
            _ => parts.sort(),
        }
        let target = empty(HashAlgorithm::Sha2_256).await;
        let imported = target.import_car(joined(&header, &parts).as_slice(), branch("x")).await.unwrap();
        assert_eq!(imported.id, exported.id());
        assert_eq!(contents(&target.read("x").await.unwrap()).await, contents(&exported).await);
    }
}
