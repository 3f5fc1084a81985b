//! Copies and moves: other names for what is stored already.

use std::collections::BTreeMap;
use std::sync::Arc;

use firnline::storage::Memory;
use firnline::{
    Access, CommitOptions, Container, Copied, CreateOptions, Entry, ErrorKind, Existing, KeyOrPrefix, OnConflict, OpenOptions, Prefix,
    Repository, Snapshot, VirtualFile, WriteSession,
};
use futures::TryStreamExt;

use crate::support::{World, conflicts, key};

fn prefix(text: &str) -> Prefix {
    Prefix::new(text).unwrap()
}

fn below(text: &str) -> KeyOrPrefix {
    KeyOrPrefix::Prefix(prefix(text))
}

async fn session(world: &World) -> WriteSession {
    world.repository.write("main").await.unwrap()
}

async fn chunks(world: &World) -> usize {
    world.storage.list("chunks/").try_collect::<Vec<_>>().await.unwrap().len()
}

/// An array `a` of chunks, small values and references, of which two files are pinned.
async fn filled(world: &World) -> Snapshot {
    let session = session(world).await;
    session.set(&key("a/zarr.json"), "{}").await.unwrap();
    for n in 0..20_u8 {
        session.set(&key(&format!("a/c/{n}")), vec![n; 2000]).await.unwrap();
        session.set_virtual(&key(&format!("a/v/{n}")), &format!("s3://bucket/{}", n % 2), 0..100).await.unwrap();
    }
    session.commit("filled").await.unwrap()
}

async fn records(snapshot: &Snapshot) -> Vec<(String, VirtualFile)> {
    snapshot.dependencies().map_ok(|d| (d.url, d.record)).try_collect().await.unwrap()
}

#[tokio::test]
async fn a_copy_holds_the_same_and_writes_no_chunk() {
    let world = World::new().await;
    let old = filled(&world).await;
    world.put("a/c/0", "changed since").await;
    let before = chunks(&world).await;
    let session = session(&world).await;
    let copied = session.copy_from(&old, &below("a"), "b/2", Existing::Refuse).await.unwrap();
    assert_eq!((copied.keys, copied.bytes, copied.replaced), (41, 2 + 20 * 2000 + 20 * 100, false));
    let new = session.commit("copied").await.unwrap();
    assert_eq!(new.content_id(&prefix("b/2")).await.unwrap(), old.content_id(&prefix("a")).await.unwrap());
    assert_ne!(new.content_id(&prefix("a")).await.unwrap(), old.content_id(&prefix("a")).await.unwrap());
    assert_eq!(chunks(&world).await, before);
    // Pins are kept, references are counted twice.
    for ((url, was), (_, is)) in records(&old).await.into_iter().zip(records(&new).await) {
        assert_eq!(is, VirtualFile { refs: 2 * was.refs, bytes: 2 * was.bytes, ..was }, "{url}");
    }
    assert!(world.repository.verify(firnline::VerifyScope::Everything).await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn a_copy_over_itself_restores_an_older_version() {
    let world = World::new().await;
    let old = filled(&world).await;
    let session = session(&world).await;
    session.set(&key("a/extra"), "x").await.unwrap();
    session.delete_prefix(&prefix("a/v"));
    session.commit("spoilt").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    let refused = session.copy_from(&old, &below("a"), "a", Existing::Refuse).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert!(session.is_unchanged());
    assert!(session.copy_from(&old, &below("a"), "a", Existing::Replace).await.unwrap().replaced);
    let restored = session.commit("restored").await.unwrap();
    assert_eq!((restored.record().manifest, restored.record().files), (old.record().manifest, old.record().files));
}

#[tokio::test]
async fn a_move_leaves_nothing_behind() {
    for (from, to) in [("a", "b"), ("a", "a/deep/er"), ("a/c", "c")] {
        let world = World::new().await;
        let old = filled(&world).await;
        let session = session(&world).await;
        let moved = session.rename(from, to, Existing::Refuse).await.unwrap();
        let new = session.commit("moved").await.unwrap();
        assert_eq!(new.content_id(&prefix(to)).await.unwrap(), old.content_id(&prefix(from)).await.unwrap(), "{from} {to}");
        assert_eq!(new.totals().await.unwrap().keys, old.totals().await.unwrap().keys, "{from} {to}");
        assert!(moved.keys > 0 && records(&new).await == records(&old).await);
        assert!(world.repository.verify(firnline::VerifyScope::Everything).await.unwrap().findings.is_empty());
    }
}

#[tokio::test]
async fn a_move_out_of_its_own_destination_keeps_only_what_moved() {
    let world = World::new().await;
    let old = filled(&world).await;
    let session = session(&world).await;
    assert_eq!(session.rename("a/c", "a", Existing::Refuse).await.unwrap_err().kind(), ErrorKind::Invalid);
    session.rename("a/c", "a", Existing::Replace).await.unwrap();
    let new = session.commit("up").await.unwrap();
    assert_eq!(new.record().manifest, {
        let again = world.repository.write("main").await.unwrap();
        again.delete_prefix(&Prefix::all());
        again.copy_from(&old, &below("a/c"), "a", Existing::Refuse).await.unwrap();
        again.commit("the same").await.unwrap().record().manifest
    });
}

#[tokio::test]
async fn a_move_takes_what_is_staged_along() {
    let world = World::new().await;
    filled(&world).await;
    let session = session(&world).await;
    session.set(&key("a/new"), vec![9; 5000]).await.unwrap();
    session.set_virtual(&key("a/v/new"), "s3://bucket/new", 0..7).await.unwrap();
    session.delete(&key("a/zarr.json")).await.unwrap();
    session.rename("a/", "b", Existing::Refuse).await.unwrap();
    let new = session.commit("moved").await.unwrap();
    assert_eq!(new.totals().await.unwrap().keys, 42);
    assert_eq!(new.get(&key("b/new")).await.unwrap().unwrap(), vec![9; 5000]);
    assert!(new.entry(&key("b/zarr.json")).await.unwrap().is_none());
    assert_eq!(records(&new).await.len(), 3);
}

#[tokio::test]
async fn a_value_is_kept_as_its_new_name_demands() {
    let world = World::new().await;
    let session = session(&world).await;
    session.set(&key("a/zarr.json"), vec![b' '; 3000]).await.unwrap();
    session.set(&key("big"), vec![b'x'; 3000]).await.unwrap();
    let snapshot = session.commit("both ways").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.copy_from(&snapshot, &KeyOrPrefix::Key(key("a/zarr.json")), "text", Existing::Refuse).await.unwrap();
    session.rename("big", "b/zarr.json", Existing::Refuse).await.unwrap();
    let new = session.commit("changed about").await.unwrap();
    assert!(matches!(new.entry(&key("text")).await.unwrap().unwrap(), Entry::Chunk { size: 3000, .. }));
    assert!(matches!(new.entry(&key("b/zarr.json")).await.unwrap().unwrap(), Entry::Inline(_)));
    assert_eq!(new.get(&key("b/zarr.json")).await.unwrap().unwrap(), vec![b'x'; 3000]);
    assert!(new.entry(&key("big")).await.unwrap().is_none());
    assert!(world.repository.verify(firnline::VerifyScope::Everything).await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn what_no_ref_keeps_is_not_linked() {
    let world = World::new().await;
    filled(&world).await;
    let target = world.repository.read("main").await.unwrap();
    // A snapshot that lost the race for its branch is there, and no ref leads to it.
    let lost = session(&world).await;
    lost.set(&key("lost"), vec![1; 5000]).await.unwrap();
    lost.set(&key("a/zarr.json"), "mine").await.unwrap();
    world.put("a/zarr.json", "theirs").await;
    lost.commit("too late").await.unwrap_err();
    let kept: Vec<_> = world.repository.read("main").await.unwrap().log().map_ok(|e| e.id.to_string()).try_collect().await.unwrap();
    let all: Vec<_> = world.storage.list("snapshots/").try_collect::<Vec<_>>().await.unwrap();
    let stray = all.iter().map(|o| o.name.rsplit('/').next().unwrap()).find(|id| !kept.iter().any(|k| k == id));
    let stray = world.repository.read(stray.expect("it was written before the branch was asked for")).await.unwrap();
    let session = session(&world).await;
    let error = session.copy_from(&stray, &KeyOrPrefix::Key(key("lost")), "found", Existing::Refuse).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("kept by no branch or tag") && session.is_unchanged(), "{error}");
    // What a move left behind is kept.
    let name = "main".parse().unwrap();
    let tip = world.put("b", "to be left").await;
    world.repository.reset(&name, &target).await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.copy_from(&tip, &KeyOrPrefix::Key(key("b")), "c", Existing::Refuse).await.unwrap();
    session.commit("taken back").await.unwrap();
    let stranger = world.reopen(Access::default()).await.read("main").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    assert_eq!(session.copy_from(&stranger, &below("a"), "d", Existing::Refuse).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn containers_come_along_or_conflict() {
    let world = World::new().await;
    let container = |template: &str| {
        let (defaults, options) = (BTreeMap::new(), BTreeMap::new());
        Container { name: "nemo".to_owned(), template: template.to_owned(), defaults, options }
    };
    let main = world.repository.read("main").await.unwrap();
    world.repository.create_branch(&"side".parse().unwrap(), &main).await.unwrap();
    let side = world.repository.write("side").await.unwrap();
    side.set_container(container("s3://bucket/{year}/{}")).unwrap();
    side.set_virtual(&key("a/0"), "s3://bucket/2025/x", 0..5).await.unwrap();
    let side = side.commit("on the side").await.unwrap();
    let session = session(&world).await;
    session.copy_from(&side, &below("a"), "b", Existing::Refuse).await.unwrap();
    let copied = session.commit("copied").await.unwrap();
    assert_eq!(copied.record().containers, side.record().containers);
    assert_eq!(copied.record().places, side.record().places);
    assert_eq!(records(&copied).await, records(&side).await);

    let session = world.repository.write("main").await.unwrap();
    session.set_container(container("s3://other/{year}/{}")).unwrap();
    session.commit("moved").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    let error = session.copy_from(&side, &below("a"), "c", Existing::Refuse).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    for part in ["nemo", "s3://bucket/{year}/{}", "s3://other/{year}/{}"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(session.is_unchanged());
}

#[tokio::test]
async fn names_that_cannot_be_are_refused_and_change_nothing() {
    let world = World::new().await;
    let old = filled(&world).await;
    let session = session(&world).await;
    let too_long = "k".repeat(1020);
    let one = KeyOrPrefix::Key(key("a/c/0"));
    for (source, to, kind) in [
        (below("none"), "b", ErrorKind::NotFound),
        (below("a"), "b//c", ErrorKind::Invalid),
        (below("a"), too_long.as_str(), ErrorKind::Invalid),
        (one.clone(), "b/", ErrorKind::Invalid),
        (one.clone(), "a", ErrorKind::Invalid),
        (one.clone(), "a/c/1", ErrorKind::Invalid),
        (below("a/v"), "a/c/0", ErrorKind::Invalid),
        (KeyOrPrefix::Key(key("none")), "b", ErrorKind::NotFound),
    ] {
        assert_eq!(session.copy_from(&old, &source, to, Existing::Refuse).await.unwrap_err().kind(), kind, "{source:?} {to}");
    }
    for (source, to, kind) in [
        ("a", "a", ErrorKind::Invalid),
        ("a/", "a", ErrorKind::Invalid),
        ("none", "b", ErrorKind::NotFound),
        ("a", "b//", ErrorKind::Invalid),
    ] {
        assert_eq!(session.rename(source, to, Existing::Replace).await.unwrap_err().kind(), kind, "{source} {to}");
    }
    assert!(session.is_unchanged());
    assert_eq!(session.copy_from(&old, &one, "b", Existing::Refuse).await.map(|c: Copied| c.keys).unwrap(), 1);
}

#[tokio::test]
async fn what_others_put_below_a_moved_prefix_conflicts() {
    let world = World::new().await;
    filled(&world).await;
    let session = session(&world).await;
    session.rename("a", "b", Existing::Refuse).await.unwrap();
    world.put("a/late", "x").await;
    let failed = session.commit("moved").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict);
    assert!(failed.conflicts().iter().any(|c| c.name.contains("a/")), "{:?}", failed.conflicts());
}

/// A policy once dropped what a move had put under its new name, and kept the deletion of the old one: the value was nowhere.
#[tokio::test]
async fn a_move_is_won_or_lost_as_one() {
    for (theirs, moves) in [
        ("two", vec![("one", "two")]),
        ("one", vec![("one", "two")]),
        ("d/b/x", vec![("d/a", "d/b")]),
        ("last", vec![("one", "two"), ("two", "last")]),
        ("away", vec![("d/a", "d/b"), ("d/b/x", "away")]),
    ] {
        let world = World::new().await;
        let before = session(&world).await;
        for name in ["one", "d/a/x", "d/a/y", "aside"] {
            before.set(&key(name), format!("the value of {name}")).await.unwrap();
        }
        before.commit("before").await.unwrap();
        let mine = session(&world).await;
        for (from, to) in &moves {
            mine.rename(from, to, Existing::Refuse).await.unwrap();
        }
        mine.rename("aside", "kept", Existing::Refuse).await.unwrap();
        world.put(theirs, "theirs").await;
        let policy = CommitOptions::from("moved").on_conflict(OnConflict::Theirs);
        let now = mine.commit(policy).await.unwrap();
        assert_eq!(now.get(&key(theirs)).await.unwrap().unwrap(), "theirs");
        for name in ["one", "d/a/x", "d/a/y"].into_iter().filter(|name| *name != theirs) {
            let value = now.get(&key(name)).await.unwrap();
            assert_eq!(value.unwrap(), format!("the value of {name}"), "{theirs} was theirs");
        }
        let names: Vec<_> = now.list(&Prefix::all()).map_ok(|(key, _)| key.to_string()).try_collect().await.unwrap();
        let more = usize::from(theirs != "one");
        assert_eq!(names.len(), 4 + more, "{names:?}");
        assert!(names.contains(&"kept".to_owned()), "what is in no conflict is moved");
    }
}

/// What another writer put where nothing was yet was once taken for a part of the copy.
#[tokio::test]
async fn a_copy_that_replaces_is_all_that_its_destination_holds() {
    for theirs in ["b/late", "b"] {
        let world = World::new().await;
        let old = filled(&world).await;
        let mine = session(&world).await;
        assert!(!mine.copy_from(&old, &below("a"), "b", Existing::Replace).await.unwrap().replaced);
        world.put(theirs, "x").await;
        let failed = mine.commit("copied").await.unwrap_err();
        assert!(conflicts(&failed).iter().any(|name| name == theirs), "{failed}");
        let now = failed.into_session().commit(CommitOptions::from("copied").on_conflict(OnConflict::Ours)).await.unwrap();
        assert_eq!(now.content_id(&prefix("b")).await.unwrap(), now.content_id(&prefix("a")).await.unwrap());
        assert!(now.entry(&key("b")).await.unwrap().is_none());
    }
}

/// A move for which there was no room once staged that the old names are gone, and no new ones.
#[tokio::test]
async fn a_move_that_fails_leaves_the_session_as_it_was() {
    let mut options = OpenOptions::default().without_pauses();
    (options.staged_bytes, options.scratch) = (4 << 10, Some("/nowhere/at/all".into()));
    let repository = Repository::create_storage(Arc::new(Memory::new()), CreateOptions::from(options)).await.unwrap();
    let session = repository.write("main").await.unwrap();
    let mut n = 0;
    let full = loop {
        match session.set(&key(&format!("a/{n}")), vec![1; 900]).await {
            Ok(()) => n += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(full.kind(), ErrorKind::Unavailable, "{full}");
    for (from, to) in [("a", "b"), ("a/0", "b")] {
        assert_eq!(session.rename(from, to, Existing::Refuse).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    for n in 0..n {
        assert!(session.get(&key(&format!("a/{n}"))).await.unwrap().is_some(), "a/{n}");
    }
}
