//! Sources that lie about the past of their versions.

use std::sync::Arc;

use super::{SyncOptions, SyncRef};
use crate::error::ErrorKind;
use crate::format::{Commit, HistoryEntry, Roots, SnapshotObject, history_key};
use crate::handle::{CreateOptions, Repository};
use crate::history::ListedMarks;
use crate::id::{NodeId, SnapshotId};
use crate::key::Key;
use crate::maintenance::VerifyScope;
use crate::map::build;
use crate::objects::Uploads;
use crate::refs::{MoveOp, MoveTo, Ref, RefName, Vouched};
use crate::snapshot::Snapshot;
use crate::storage::Memory;
use crate::time::Timestamp;

async fn empty() -> Repository {
    Repository::create_storage(Arc::new(Memory::new()), CreateOptions::default()).await.unwrap()
}

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

fn only(text: &str) -> SyncOptions {
    SyncOptions::default().with(SyncRef::branch(name(text)))
}

/// A repository with the versions `first` to `fourth` on main, oldest first, the first with a place.
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

/// Stores a version that was made from `snapshot` by `change`, and a branch `forged` that shows it.
async fn forge(snapshot: &Snapshot, change: impl FnOnce(&mut Commit)) -> SnapshotId {
    let mut commit = snapshot.record().clone();
    change(&mut commit);
    let repository = snapshot.repository();
    let id = commit.id(repository.hash());
    let uploads = Uploads::new(repository.objects());
    uploads.snapshot(id, &SnapshotObject { commit, roots: Roots::default() }).await.unwrap();
    uploads.finish().await.unwrap();
    let to = MoveTo { to: Some(id), op: MoveOp::Create, about: None, not_before: Timestamp::MIN };
    repository.refs().create(&Ref::branch(name("forged")), to, |_| async { Ok(Vouched::Safe) }).await.unwrap();
    id
}

/// A history map of these entries, stored.
async fn history(repository: &Repository, entries: &[(Timestamp, SnapshotId)]) -> NodeId {
    let entry = |(time, id): &(Timestamp, SnapshotId)| Ok((history_key(*time), HistoryEntry { id: *id, summary: String::new() }));
    let mut uploads = Uploads::new(repository.objects());
    let entries = futures::stream::iter(entries.iter().map(entry).collect::<Vec<_>>());
    let root = build(entries, repository.objects().shape(), &mut uploads).await.unwrap().root;
    uploads.finish().await.unwrap();
    root
}

/// A pull of the forged version is refused, by a target that has its parent and by one that has not.
async fn refused(line: &[Snapshot], says: &str) {
    let source = line[0].repository();
    for has_parent in [true, false] {
        let target = empty().await;
        if has_parent {
            source.create_branch(&name("third"), &line[2]).await.unwrap();
            target.pull(source, &only("third")).await.unwrap();
            source.delete_branch(&name("third")).await.unwrap();
        }
        let error = target.pull(source, &only("forged")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(target.read("forged").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(target.verify(VerifyScope::Everything).await.unwrap().findings, []);
    }
}

#[tokio::test]
async fn a_history_that_is_not_that_of_the_parent_is_refused() {
    let line = line().await;
    let source = line[0].repository().clone();
    let start = source.read("main~4").await.unwrap();
    // As long as the right one, with the right end: the fourth version, which a target may have in part, takes the place of the first.
    let strange = [(start.record().time, start.id()), (line[0].record().time, line[3].id()), (line[1].record().time, line[1].id())];
    let entries: Vec<_> = strange.into_iter().chain([(line[2].record().time, line[2].id())]).collect();
    let root = history(&source, &entries).await;
    forge(&line[3], |commit| commit.history = root).await;
    refused(&line, "is not that of its parent").await;
}

#[tokio::test]
async fn claims_that_cannot_be_true_are_refused() {
    type Forgery = fn(&mut Commit, &Snapshot);
    let forgeries: [(Forgery, &str); 4] = [
        (|commit, parent| commit.time = parent.record().time, "its parent"),
        (|commit, _| commit.places.clear(), "its places lack"),
        (|commit, parent| commit.since = parent.record().since.or(Some(Timestamp::MIN)), "reaches back"),
        (|commit, _| commit.parents.clear(), "but no parent"),
    ];
    for (forgery, says) in forgeries {
        let line = line().await;
        forge(&line[3], |commit| forgery(commit, &line[2])).await;
        refused(&line, says).await;
    }
}

/// A parent that is stamped later than its child would be copied after it, and be taken for one that was left out.
#[tokio::test]
async fn a_parent_that_is_not_earlier_is_not_taken_for_one_that_was_left_out() {
    let line = line().await;
    let source = line[0].repository();
    let later = line[3].record().time;
    let parent = forge(&line[2], |commit| commit.time = later).await;
    source.delete_branch(&name("forged")).await.unwrap();
    forge(&line[3], |commit| {
        commit.parents = vec![parent];
        commit.time = line[1].record().time;
    })
    .await;
    let target = empty().await;
    let error = target.pull(source, &only("forged")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("its parent"), "{error}");
    let marks = ListedMarks::list(&**target.storage(), target.hash()).await.unwrap();
    assert!(!marks.has(line[3].id()));
}
