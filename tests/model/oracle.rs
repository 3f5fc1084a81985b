//! What the engine should answer, in data structures too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use firnline::{Clock, SnapshotId, Timestamp};

/// The time of the world, and one writer's wrong idea of it.
#[derive(Debug)]
pub(crate) struct SkewedClock {
    pub(crate) world: Arc<AtomicI64>,
    pub(crate) skew: i64,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.world.load(Ordering::Relaxed) + self.skew)
    }
}

/// A value as the model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Bytes(Vec<u8>),
    Virtual { url: String, offset: u64, length: u64 },
}

pub(crate) type Tree = BTreeMap<String, Value>;

/// Staged changes: explicit ones, and prefixes deleted before them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Staged {
    pub(crate) explicit: BTreeMap<String, Option<Value>>,
    pub(crate) deleted: Vec<String>,
}

impl Staged {
    pub(crate) fn delete_prefix(&mut self, prefix: &str) {
        self.explicit.retain(|key, _| !key.starts_with(prefix));
        self.deleted.push(prefix.to_owned());
    }

    pub(crate) fn covers(&self, key: &str) -> bool {
        self.deleted.iter().any(|prefix| key.starts_with(prefix.as_str()))
    }

    pub(crate) fn apply(&self, base: &Tree) -> Tree {
        let mut tree: Tree = base.iter().filter(|(key, _)| !self.covers(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        for (key, value) in &self.explicit {
            match value {
                Some(value) => tree.insert(key.clone(), value.clone()),
                None => tree.remove(key),
            };
        }
        tree
    }

    /// The widest deleted prefix in which a key or prefix lies.
    pub(crate) fn widest_cover(&self, key: &str) -> Option<String> {
        self.deleted.iter().filter(|prefix| key.starts_with(prefix.as_str())).min_by_key(|prefix| prefix.len()).cloned()
    }
}

/// A commit as the model knows it.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) tree: Tree,
    pub(crate) time: Timestamp,
    /// Itself and everything before it on its line, oldest first.
    pub(crate) line: Vec<SnapshotId>,
    /// Itself and everything behind it, over all parents.
    pub(crate) behind: BTreeSet<SnapshotId>,
}

/// What a branch showed, from each moment on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) events: Vec<(Timestamp, Option<SnapshotId>)>,
}

impl Shown {
    pub(crate) fn now(&self) -> Option<SnapshotId> {
        self.events.last().and_then(|(_, tip)| *tip)
    }

    pub(crate) fn at(&self, time: Timestamp) -> Option<SnapshotId> {
        self.events.iter().rev().find(|(since, _)| *since <= time).and_then(|(_, tip)| *tip)
    }

    pub(crate) fn last(&self) -> Option<Timestamp> {
        self.events.last().map(|(time, _)| *time)
    }
}

/// References and bytes per file, counted anew.
pub(crate) fn dependencies(tree: &Tree) -> BTreeMap<String, (u64, u64)> {
    let mut counted = BTreeMap::new();
    for value in tree.values() {
        if let Value::Virtual { url, length, .. } = value {
            let count: &mut (u64, u64) = counted.entry(url.clone()).or_default();
            count.0 += 1;
            count.1 += length;
        }
    }
    counted
}
