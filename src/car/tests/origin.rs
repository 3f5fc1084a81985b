//! Commits that name parents and a history that are not theirs.
//!
//! Such a commit hashes right, and the file is whole. Each case is refused, or kept as a shallow version: its history is never shown, and
//! `verify` lists it as shallow and finds nothing wrong, also after its parents have come.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::{blocks_of, empty, joined};
use crate::car::{ImportTarget, Imported};
use crate::error::{ErrorKind, Result};
use crate::format::{Commit, HistoryEntry, Node};
use crate::handle::Repository;
use crate::history::{Behind, Line};
use crate::id::{HashAlgorithm, NodeId, SnapshotId};
use crate::key::Key;
use crate::maintenance::VerifyScope;
use crate::map::{NodeSource, Nowhere};
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
    assert_eq!(verified.findings, []);
    assert!(verified.shallow.contains(&id));
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
    let root_time = line[0].repository().read("main~4").await.unwrap().record().time;
    let cases: [(&str, Forgery); 8] = [
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
        // The time at which the history does begin, although nothing came before it.
        ("reaches back to", Box::new(move |commit| commit.since = Some(root_time))),
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
        if at != 7 {
            is_shallow(&target, id).await;
        }
        assert_eq!(target.verify(VerifyScope::Everything).await.unwrap().findings, [], "case {at}");
        let error = target.import_car(file.as_slice(), branch("y")).await.unwrap_err();
        assert!(error.to_string().contains(says), "case {at}: {error}");
    }
}

/// A version without a history of its own, that names `parent` as its parent and a history that begins with it.
async fn beginning_with(parent: &Snapshot, since: Option<Timestamp>) -> (SnapshotId, Vec<u8>) {
    let line = Line { objects: parent.repository().objects(), id: parent.id(), commit: parent.record() };
    let behind = line.restarted(&mut Nowhere).await.unwrap();
    forged(parent, |commit| {
        commit.parents = vec![parent.id()];
        (commit.history, commit.since) = (behind.root, since);
        (commit.time, commit.message) = (commit.time.next(), "forged".to_owned());
    })
    .await
}

/// The map that begins with a shallow parent is there, because of an honest commit. Without `since`, the forged version claims that the line
/// begins there: its log showed that, and after the next commit `verify` found damage for ever.
#[tokio::test]
async fn a_history_that_begins_with_a_shallow_parent_is_not_the_whole_line() {
    let line = line().await;
    let target = empty().await;
    target.import_car(car(&line[2]).await.as_slice(), branch("b")).await.unwrap();
    let session = target.write("b").await.unwrap();
    session.set(&Key::new("q").unwrap(), b"x".to_vec()).await.unwrap();
    session.commit("honest").await.unwrap();
    for since in [None, Some(line[0].record().time)] {
        let (id, file) = beginning_with(&line[2], since).await;
        let imported = target.import_car(file.as_slice(), branch("x")).await;
        if since.is_some() {
            assert_eq!(imported.unwrap_err().kind(), ErrorKind::Corrupt);
            continue;
        }
        assert!(imported.unwrap().is_shallow);
        is_shallow(&target, id).await;
        assert_eq!(target.read("x~1").await.unwrap_err().kind(), ErrorKind::NotFound);
        goes_on(&target, id).await;
    }
}

/// A history that begins with the parent is made on top of a shallow version only, and the first commit of a line is never shallow: this log
/// claimed that something came before it.
#[tokio::test]
async fn nothing_comes_before_the_first_commit_of_a_line() {
    let line = line().await;
    let root = line[0].repository().read("main~4").await.unwrap();
    let (id, file) = beginning_with(&root, Some(root.record().time)).await;
    refused(&with_ancestors(&line, 1).await, &file, "reaches back to").await;

    let target = empty().await;
    kept(&target, id, &file).await;
    goes_on(&target, id).await;
    import_ancestors(&target, &line, 4).await;
    is_shallow(&target, id).await;
    goes_on(&target, id).await;
}

/// A node of a history map has an id of its own, so a forged commit can name the end of a map as its history: its log showed that the
/// line begins there.
#[tokio::test]
async fn the_end_of_a_history_is_not_the_whole_of_it() {
    let repository = empty().await;
    let mut line = vec![repository.read("main").await.unwrap()];
    let end = loop {
        let session = repository.write("main").await.unwrap();
        session.set(&Key::new("k").unwrap(), line.len().to_string().into_bytes()).await.unwrap();
        let tip = session.commit(format!("{:0>72}", line.len())).await.unwrap();
        let root: Arc<Node<HistoryEntry>> = repository.objects().load(tip.record().history).await.unwrap();
        if let Node::Branch(branch) = &*root {
            let end = branch.children.last().unwrap();
            if end.entries > 1 {
                break end.id;
            }
        }
        line.push(tip);
    };
    let parent = line.last().unwrap();
    let (id, file) = forged(parent, |commit| {
        commit.parents = vec![parent.id()];
        (commit.history, commit.time, commit.message) = (end, commit.time.next(), "forged".to_owned());
    })
    .await;
    let target = empty().await;
    kept(&target, id, &file).await;
    for snapshot in &line {
        assert!(!target.import_car(car(snapshot).await.as_slice(), branch("line")).await.unwrap().is_shallow);
    }
    let session = target.write("line").await.unwrap();
    session.set(&Key::new("k").unwrap(), b"more".to_vec()).await.unwrap();
    session.commit("stores the map").await.unwrap();
    is_shallow(&target, id).await;
    goes_on(&target, id).await;
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
