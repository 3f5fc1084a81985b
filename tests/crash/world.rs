//! What every test here needs: a clock that only tests move, a model of trees, and a reader that believes nothing.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use firnline::storage::Storage;
use firnline::{
    Clock, Entry, Key, LogEntry, Move, OpenOptions, Prefix, Ref, RefName, Repository, Snapshot, SnapshotId, Timestamp, WriteSession,
};
use futures::TryStreamExt as _;

/// The time of a test. Every look at it takes a millisecond.
#[derive(Debug, Clone)]
pub(crate) struct Ticking(Arc<AtomicI64>);

impl Ticking {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_700_000_000_000_000)))
    }

    /// A clock that shows the same and runs by itself.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(AtomicI64::new(self.0.load(Ordering::Relaxed))))
    }

    /// Sets the clock forward, or back.
    pub(crate) fn turn(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }

    /// Opens by this clock and without pauses.
    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions::default().clock(Arc::new(self.clone())).without_pauses()
    }

    pub(crate) async fn open(&self, storage: Arc<dyn Storage>) -> Repository {
        Repository::open_storage(storage, self.options()).await.unwrap()
    }
}

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1_000, Ordering::Relaxed))
    }
}

/// A value as the model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Bytes(Vec<u8>),
    Virtual { url: &'static str, offset: u64, length: u64 },
}

pub(crate) type Tree = BTreeMap<String, Value>;

/// One staged change. Replayed in order on a tip, changes give what a rebased commit must hold.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Set(&'static str, Value),
    Delete(&'static str),
    DeletePrefix(&'static str),
}

impl Change {
    pub(crate) fn bytes(key: &'static str, byte: u8, length: usize) -> Self {
        Self::Set(key, Value::Bytes(vec![byte; length]))
    }

    pub(crate) fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Set(key, value) => drop(tree.insert((*key).to_owned(), value.clone())),
            Self::Delete(key) => drop(tree.remove(*key)),
            Self::DeletePrefix(prefix) => tree.retain(|key, _| !key.starts_with(prefix)),
        }
    }

    /// Stages it; after an error it can be staged again.
    pub(crate) async fn stage(&self, session: &mut WriteSession) -> firnline::Result<()> {
        match self {
            Self::Set(name, Value::Bytes(bytes)) => session.set(&key(name), bytes.clone()).await,
            Self::Set(name, Value::Virtual { url, offset, length }) => session.set_virtual(&key(name), url, *offset..offset + length).await,
            Self::Delete(name) => session.delete(&key(name)).await.map(drop),
            Self::DeletePrefix(name) => {
                session.delete_prefix(&prefix(name));
                Ok(())
            }
        }
    }
}

/// The changes that a session on `base` stages: to delete what is not there is none.
pub(crate) fn staged(base: &Tree, changes: Vec<Change>) -> Vec<Change> {
    let mut tree = base.clone();
    let mut stages = |change: &Change| {
        let stages = !matches!(change, Change::Delete(key) if !tree.contains_key(*key));
        change.apply(&mut tree);
        stages
    };
    changes.into_iter().filter(|change| stages(change)).collect()
}

/// The tree that `changes` make of `tree`.
pub(crate) fn applied(tree: &Tree, changes: &[Change]) -> Tree {
    let mut tree = tree.clone();
    for change in changes {
        change.apply(&mut tree);
    }
    tree
}

pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

pub(crate) fn prefix(text: &str) -> Prefix {
    Prefix::new(text).unwrap()
}

pub(crate) fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

pub(crate) fn branch(text: &str) -> Ref {
    Ref::branch(name(text))
}

/// Reads every key of a snapshot, and checks that its files map is a recount of its manifest.
pub(crate) async fn read_whole(snapshot: &Snapshot) -> Tree {
    let mut tree = Tree::new();
    let mut files: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let listed: Vec<_> = snapshot.list(&Prefix::all()).try_collect().await.unwrap_or_else(|e| panic!("{}: {e:?}", snapshot.id()));
    for (key, entry) in listed {
        let value = if let Entry::Virtual { file, offset, length } = entry {
            let url = file.url(&snapshot.record().containers).unwrap();
            let count = files.entry(url.clone()).or_default();
            *count = (count.0 + 1, count.1 + length);
            Value::Virtual { url: url.leak(), offset, length }
        } else {
            let found = snapshot.get(&key).await.unwrap_or_else(|e| panic!("{key} of {}: {e:?}", snapshot.id()));
            Value::Bytes(found.expect("a listed key has a value").to_vec())
        };
        tree.insert(key.to_string(), value);
    }
    let counted: BTreeMap<_, _> = snapshot.dependencies().map_ok(|d| (d.url, (d.record.refs, d.record.bytes))).try_collect().await.unwrap();
    assert_eq!(counted, files, "{}: the files map is a recount", snapshot.id());
    tree
}

/// The log of a snapshot, latest first; times must run strictly backwards.
pub(crate) async fn log(snapshot: &Snapshot) -> Vec<LogEntry> {
    let log: Vec<_> = snapshot.log().try_collect().await.unwrap_or_else(|e| panic!("log of {}: {e:?}", snapshot.id()));
    assert!(log.is_sorted_by(|later, earlier| later.time > earlier.time), "{}: history increases strictly", snapshot.id());
    log
}

/// What a repository holds, found by reading all of it.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Every snapshot that some ref keeps, with all its content.
    pub(crate) trees: BTreeMap<SnapshotId, Tree>,
    /// What each live ref points at.
    pub(crate) tips: BTreeMap<Ref, SnapshotId>,
    /// Every commit that each ref holds or has held.
    pub(crate) held: BTreeMap<Ref, BTreeSet<SnapshotId>>,
}

/// Reads every key of everything that refs keep: tips, kept moves, and all that came before them.
///
/// `names` are the refs that may have existed; live ones that are not among them are a mistake.
pub(crate) async fn read_everything(repository: &Repository, names: &[Ref]) -> Found {
    let mut found = Found::default();
    let branches = repository.branches().await.unwrap().into_iter().map(|info| (Ref::branch(info.name), info.tip.unwrap()));
    let tags = repository.tags().await.unwrap().into_iter().map(|info| (Ref::tag(info.name), info.tip.unwrap()));
    found.tips = branches.chain(tags).collect();
    for live in found.tips.keys() {
        assert!(names.contains(live), "{live} exists, and nobody made it");
    }
    for name in names {
        let tip = found.tips.get(name).copied();
        let moves = moves(repository, name).await;
        assert!(moves.is_sorted_by(|a, b| a.seq < b.seq && a.time < b.time), "{name}: moves increase strictly");
        assert!(tip.is_none() || !moves.is_empty(), "{name} exists, so it was created");
        let roots: BTreeSet<_> = moves.iter().flat_map(|m| [m.from, m.to]).flatten().chain(tip).collect();
        for root in roots {
            let root = repository.read(&root.to_string()).await.unwrap();
            for entry in log(&root).await {
                found.held.entry(name.clone()).or_default().insert(entry.id);
                if let btree_map::Entry::Vacant(tree) = found.trees.entry(entry.id) {
                    let snapshot = repository.read(&entry.id.to_string()).await.unwrap();
                    assert_eq!(snapshot.record().time, entry.time, "the history knows the time of {}", entry.id);
                    tree.insert(read_whole(&snapshot).await);
                }
            }
        }
    }
    let verified = repository.verify(firnline::VerifyScope::Everything).await.unwrap();
    assert_eq!(verified.findings, [], "nothing is damaged");
    found
}

/// The moves of a ref; none when it has never existed.
pub(crate) async fn moves(repository: &Repository, name: &Ref) -> Vec<Move> {
    match repository.moves(name).await {
        Ok(moves) => moves,
        Err(e) if e.kind() == firnline::ErrorKind::NotFound => Vec::new(),
        Err(e) => panic!("{name}: {e:?}"),
    }
}

/// Lets tasks that were let go run to their end.
pub(crate) async fn settle_down() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
