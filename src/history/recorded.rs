//! What differs between a snapshot and its first parent, as its writer recorded it: without reading what differs.

use futures::{Stream, StreamExt as _, stream};

use super::diff::{Change, comparable};
use crate::error::{Error, Result};
use crate::format::{ChangeList, Entry};
use crate::key::{Key, Prefix};
use crate::map::MapTotals;
use crate::snapshot::Snapshot;
use crate::storage::ObjectName;

impl Snapshot {
    /// The changes that lead from this snapshot to `newer`, of which it is the first parent, like [`diff`](Self::diff), but with the
    /// changes of keys that the writer of `newer` recorded beside it. `None` where it recorded none: `newer` changed more than 4,096 keys,
    /// was copied or imported, or has another first parent.
    ///
    /// **Nothing proves that the changes of keys are right, or all of them**: they are what the writer said, as a message of a commit is.
    /// Whoever may write objects in the repository could have recorded others. [`diff`](Self::diff) compares what the ids of both snapshots
    /// vouch for, and whatever decides about data must use that. What is found wrong here is `Corrupt`: a list that is damaged, that
    /// belongs to other manifests, or that does not add up to the counts and sizes of both.
    /// [`Repository::verify`](crate::Repository::verify) compares every list with the manifests.
    ///
    /// Reads one object and two nodes, however large the manifests are. Containers are compared. So are files, in the files maps, but only
    /// if the writer recorded that a file was pinned anew.
    pub async fn recorded_diff(&self, newer: &Self, prefix: &Prefix) -> Result<Option<impl Stream<Item = Result<Change>> + Send + use<>>> {
        comparable(self, newer)?;
        if newer.record().parents.first() != Some(&self.id()) {
            return Ok(None);
        }
        let (changes, is_repinned) = if self.record().manifest == newer.record().manifest {
            (Vec::new(), true)
        } else {
            match self.recorded_keys(newer).await {
                Ok(Some(list)) => (list.changes, list.is_repinned),
                Ok(None) => return Ok(None),
                Err(error) => return Err(newer.explained(self.explained(error).await).await),
            }
        };
        let inside = changes.into_iter().filter(|change| prefix.contains(change.key.as_str()));
        let keys: Vec<_> =
            inside.map(|change| Ok(Change::Key { key: Key::new(change.key.as_str())?, old: change.old, new: change.new })).collect();
        let containers = stream::iter(self.diff_containers(newer, prefix).into_iter().map(Ok));
        let files = stream::iter(is_repinned.then(|| self.diff_files(newer, prefix))).flatten();
        Ok(Some(containers.chain(files).chain(stream::iter(keys))))
    }

    /// The list beside `newer`, if it does not contradict the two snapshots.
    async fn recorded_keys(&self, newer: &Self) -> Result<Option<ChangeList>> {
        let objects = newer.repository().objects();
        let (id, older, younger) = (newer.id(), self.manifest(), newer.manifest());
        let (list, before, after) = futures::try_join!(objects.read_changes(&id), older.totals(), younger.totals())?;
        let Some(list) = list else { return Ok(None) };
        let wrong = |why: &str| {
            let name = ObjectName::changes(&id);
            Err(Error::corrupt(format!("{name} {why}; compare the snapshots themselves, and verify the repository")))
        };
        if !list.is_between(self.record(), newer.record()) {
            return wrong("is the list of other versions");
        }
        if !adds_up(&list, before, after) {
            return wrong("does not add up to the counts and sizes of the two manifests");
        }
        Ok(Some(list))
    }
}

/// Whether the changes lead from one count and size to the other.
fn adds_up(list: &ChangeList, before: MapTotals, after: MapTotals) -> bool {
    let side = |of: fn(&crate::format::ChangedEntry) -> Option<&Entry>| {
        let entries = list.changes.iter().filter_map(of);
        entries.fold((0_i128, 0_i128), |(count, bytes), entry| (count + 1, bytes + i128::from(entry.size())))
    };
    let (gone, made) = (side(|change| change.old.as_ref()), side(|change| change.new.as_ref()));
    let holds = |before: u64, gone: i128, made: i128, after: u64| i128::from(before) - gone + made == i128::from(after);
    holds(before.entries, gone.0, made.0, after.entries) && holds(before.bytes, gone.1, made.1, after.bytes)
}
