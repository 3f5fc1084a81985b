//! Commits that name parents and a history that are not theirs.
//!
//! Such a commit hashes right, and the file is whole. Each case is refused, or kept as a shallow version: its history is never shown, and
//! `verify` lists it as shallow and finds nothing wrong, also after its parents have come.

use futures::{StreamExt, TryStreamExt};

use super::{blocks_of, empty, joined};
use crate::car::{ImportTarget, Imported};
use crate::error::{ErrorKind, Result};
use crate::format::Commit;
use crate::handle::Repository;
use crate::history::Behind;
use crate::id::{HashAlgorithm, NodeId, SnapshotId};
use crate::key::Key;
use crate::maintenance::VerifyScope;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// What is done to a commit.
type Forgery = Box<dyn Fn(&mut Commit)>;

fn branch(name: &str) -> ImportTarget {
    ImportTarget::Branch(name.parse().unwrap())
}

/// A repository with the line `first` to `fourth` on main, oldest first.
async fn line() -> Vec<Snapshot> {
    let repository = empty().await;
    let mut line = Vec::new();
    for message in ["first", "second", "third", "fourth"] {
        let session = repository.write("main").await.unwrap();
        session.set(&Key::new(message).unwrap(), message.repeat(300)).await.unwrap();
        if message == "first" {
            session.set_virtual(&Key::new("v").unwrap(), "file:///data/a.nc", 3..9).await.unwrap();
        }
        line.push(session.commit(message).await.unwrap());
    }
    line
}

async fn car(snapshot: &Snapshot) -> Vec<u8> {
    let mut file = Vec::new();
    snapshot.export_car(&mut file).await.unwrap();
    file
}

/// The file of `snapshot` with another commit at its root.
async fn forged(snapshot: &Snapshot, change: impl FnOnce(&mut Commit)) -> (SnapshotId, Vec<u8>) {
    let mut commit = snapshot.record().clone();
    change(&mut commit);
    let id = commit.id(HashAlgorithm::Sha2_256);
    let mut blocks = blocks_of(&car(snapshot).await).await;
    blocks[0].data = commit.canonical().into();
    blocks[0].cid = id.cid();
    (id, joined(id, &blocks).await)
}

/// Imports the first commit of the repository and the `count` oldest versions of the line.
async fn with_ancestors(line: &[Snapshot], count: usize) -> Repository {
    let target = empty().await;
    import_ancestors(&target, line, count).await;
    target
}

async fn import_ancestors(target: &Repository, line: &[Snapshot], count: usize) {
    let root = line[0].repository().read("main~4").await.unwrap();
    for snapshot in [&root].into_iter().chain(&line[..count]) {
        let imported = target.import_car(car(snapshot).await.as_slice(), branch("line")).await.unwrap();
        assert!(!imported.is_shallow);
    }
}

async fn refused(target: &Repository, file: &[u8], says: &str) {
    let error = target.import_car(file, branch("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(target.read("x").await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Whether the version is shown without a history, is listed as shallow, and gives no finding.
async fn is_shallow(target: &Repository, id: SnapshotId) {
    let snapshot = target.read(&id.to_string()).await.unwrap();
    let log: Vec<Result<_>> = snapshot.log().collect().await;
    assert_eq!(log.len(), 2);
    assert_eq!(log[0].as_ref().unwrap().id, id);
    assert_eq!(log[1].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    let verified = target.verify(VerifyScope::Everything).await.unwrap();
    assert_eq!(verified.findings, []);
    assert!(verified.shallow.contains(&id));
    let verified = target.verify(VerifyScope::Revision(snapshot)).await.unwrap();
    assert_eq!((verified.findings, verified.shallow), (Vec::new(), vec![id]));
}

async fn kept(target: &Repository, id: SnapshotId, file: &[u8]) -> Imported {
    let imported = target.import_car(file, branch("x")).await.unwrap();
    assert!(imported.is_shallow);
    is_shallow(target, id).await;
    imported
}

/// A commit on top begins a history of its own, which is right however the line below it turns out to be.
async fn goes_on(target: &Repository, id: SnapshotId) {
    let session = target.write("x").await.unwrap();
    session.set(&Key::new("more").unwrap(), b"x".to_vec()).await.unwrap();
    let child = session.commit("on top").await.unwrap();
    assert_eq!(child.record().parents, [id]);
    assert_eq!(target.verify(VerifyScope::Everything).await.unwrap().findings, []);
}

#[tokio::test]
async fn claims_that_contradict_each_other_are_refused_everywhere() {
    let line = line().await;
    let last = &line[3];
    let empty_map = line[0].repository().read("main~4").await.unwrap().record().history;
    let is_file = last.record().files;
    let cases: [(&str, Forgery); 8] = [
        ("a part of another of its maps", Box::new(|commit| commit.history = commit.manifest)),
        ("a part of another of its maps", Box::new(move |commit| commit.history = is_file)),
        ("its history is empty", Box::new(move |commit| commit.history = empty_map)),
        ("but no parent", Box::new(|commit| commit.parents.clear())),
        (
            "but no parent",
            Box::new(move |commit| {
                commit.parents.clear();
                (commit.history, commit.since) = (empty_map, Some(Timestamp::from_micros(1)));
            }),
        ),
        ("its history begins at", Box::new(|commit| commit.since = Some(commit.time))),
        ("its places lack file:///", Box::new(|commit| commit.places.clear())),
        ("its places lack file:///", Box::new(|commit| commit.places = vec!["https://x/{}".to_owned()])),
    ];
    for (says, change) in cases {
        let (_, file) = forged(last, change).await;
        refused(&empty().await, &file, says).await;
        refused(&with_ancestors(&line, 3).await, &file, says).await;
    }
}

/// These were kept as shallow although the parent is here and tells that they are lies; as soon as another import brought the map that
/// they name, their log showed another line, and `verify --all` found it for ever.
#[tokio::test]
async fn claims_that_a_parent_disproves_are_refused_where_it_is_and_kept_as_shallow_elsewhere() {
    let line = line().await;
    let last = &line[3];
    let commits: Vec<Commit> = line.iter().map(|snapshot| snapshot.record().clone()).collect();
    let ids: Vec<SnapshotId> = line.iter().map(Snapshot::id).collect();
    let (before, behind, first) = (commits[2].clone(), ids[1], commits[0].clone());
    let nowhere = NodeId::of(HashAlgorithm::Sha2_256, b"no node");
    let history = commits[2].history;
    let first_time = first.time;
    let cases: [(&str, Forgery); 7] = [
        // The history of the parent, without the parent.
        ("is not that of its parent", Box::new(move |commit| commit.history = history)),
        // A parent that the history does not end with.
        ("is not that of its parent", Box::new(move |commit| commit.parents = vec![behind])),
        ("is not that of its parent", Box::new(move |commit| commit.history = nowhere)),
        (
            "it is stamped",
            Box::new({
                let time = before.time;
                move |commit| commit.time = time
            }),
        ),
        ("reaches back to", Box::new(move |commit| commit.since = Some(first_time))),
        (
            "is not that of its parent",
            Box::new({
                let time = before.time;
                move |commit| commit.since = Some(time)
            }),
        ),
        // A parent that is not the first, and later.
        (
            "it is stamped",
            Box::new({
                let (second, time) = (ids[2], before.time);
                let (history, since) = (commits[2].history, commits[2].since);
                move |commit| {
                    commit.parents = vec![behind, second];
                    (commit.history, commit.since, commit.time) = (history, since, time);
                }
            }),
        ),
    ];
    for (at, (says, change)) in cases.into_iter().enumerate() {
        let (id, file) = forged(last, change).await;
        refused(&with_ancestors(&line, 3).await, &file, says).await;

        let target = empty().await;
        kept(&target, id, &file).await;
        goes_on(&target, id).await;
        import_ancestors(&target, &line, 4).await;
        if at != 6 {
            is_shallow(&target, id).await;
        }
        assert_eq!(target.verify(VerifyScope::Everything).await.unwrap().findings, [], "case {at}");
        let error = target.import_car(file.as_slice(), branch("y")).await.unwrap_err();
        assert!(error.to_string().contains(says), "case {at}: {error}");
    }
}

/// The commit names a parent that is nowhere, and a history map that is here because it is another line's.
#[tokio::test]
async fn the_history_of_another_line_is_never_shown() {
    let line = line().await;
    let target = with_ancestors(&line, 4).await;
    let stranger = SnapshotId::of(HashAlgorithm::Sha2_256, b"no such commit");
    let (id, file) = forged(&line[3], |commit| commit.parents = vec![stranger]).await;
    kept(&target, id, &file).await;
    assert_eq!(target.read("x").await.unwrap().totals().await.unwrap().ancestors, 0);
    goes_on(&target, id).await;
    let log: Vec<_> = target.read("x").await.unwrap().log().map(|entry| entry.map(|entry| entry.id).ok()).collect().await;
    assert_eq!(log.len(), 3);
    assert_eq!(log[1..], [Some(id), None]);
}

/// Other parents than the first are in no history; where one is absent, verification must not take it for lost.
#[tokio::test]
async fn a_second_parent_that_is_absent_is_no_damage() {
    let line = line().await;
    let target = with_ancestors(&line, 3).await;
    let stranger = SnapshotId::of(HashAlgorithm::Sha2_256, b"no such commit");
    let (id, file) = forged(&line[3], |commit| commit.parents.push(stranger)).await;
    let imported = target.import_car(file.as_slice(), branch("x")).await.unwrap();
    assert!(!imported.is_shallow);
    assert_eq!(target.read("x").await.unwrap().log().try_collect::<Vec<_>>().await.unwrap().len(), 5);
    goes_on(&target, id).await;
}

/// A place that the line pointed at before must not be forgotten.
#[tokio::test]
async fn places_of_the_parent_stay_listed() {
    let line = line().await;
    let (_, file) = forged(&line[3], |commit| {
        commit.containers.clear();
        commit.places.clear();
    })
    .await;
    let error = with_ancestors(&line, 3).await.import_car(file.as_slice(), branch("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

/// A version whose history begins with its parent, because it was committed where the parent was shallow, is whole wherever the parent is.
#[tokio::test]
async fn a_history_that_begins_with_the_parent_is_proved_by_the_parent() {
    let line = line().await;
    let other = empty().await;
    other.import_car(car(&line[3]).await.as_slice(), branch("x")).await.unwrap();
    let session = other.write("x").await.unwrap();
    session.set(&Key::new("other").unwrap(), b"x".to_vec()).await.unwrap();
    let child = session.commit("on top").await.unwrap();
    assert_eq!(Behind::of(child.record()).since, Some(line[3].record().time));
    let source = line[3].repository();
    let back = source.import_car(car(&child).await.as_slice(), branch("x")).await.unwrap();
    assert!(!back.is_shallow);
    assert_eq!(source.verify(VerifyScope::Everything).await.unwrap().findings, []);
    goes_on(source, child.id()).await;
}
