//! What differs between two snapshots, by reading only what they do not share.

use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};

use crate::error::{Error, Result};
use crate::format::{Commit, Container, Entry, FileKey, VirtualFile};
use crate::id::NodeId;
use crate::key::{Key, Prefix};
use crate::map::{self, Diff, Span};
use crate::objects::CachedValue;
use crate::snapshot::Snapshot;
use crate::virtuals::Validator;

/// One difference between an older and a newer snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// What is stored under a key. One side is `None` where the key does not exist; never both.
    Key {
        /// The key.
        key: Key,
        /// What the older snapshot stores under it.
        old: Option<Entry>,
        /// The same in the newer snapshot.
        new: Option<Entry>,
    },
    /// The definition of a container. Virtual values in it may differ although their entries are equal.
    Container {
        /// Its name.
        name: String,
        /// Its definition in the older snapshot.
        old: Option<Container>,
        /// Its definition in the newer one.
        new: Option<Container>,
    },
    /// An external file that both depend on, of which they pinned different states.
    File {
        /// Its name inside the repository.
        file: FileKey,
        /// What the older snapshot knows of it.
        old: VirtualFile,
        /// The same in the newer snapshot.
        new: VirtualFile,
    },
}

impl Snapshot {
    /// The changes that lead from this snapshot to `newer`: containers by name, then files, then keys, in the order of the maps.
    ///
    /// Below a `prefix` other than [`Prefix::all`] only keys are compared. Costs as many reads as there are nodes that only one
    /// side has. The snapshots may come from two repositories: `Unsupported` when those do not have the same hash.
    pub fn diff(&self, newer: &Self, prefix: &Prefix) -> impl Stream<Item = Result<Change>> + Send + use<> {
        let judged = comparable(self, newer);
        let keys = map_changes(self, newer, |of| of.manifest, Span::prefix(prefix));
        let keys =
            keys.and_then(|map::MapChange { key, old, new }| async move { Ok(Change::Key { key: Key::new(key.as_str())?, old, new }) });
        let containers = stream::iter(self.diff_containers(newer, prefix).into_iter().map(Ok));
        let all = containers.chain(self.diff_files(newer, prefix)).chain(keys);
        stream::once(async move { judged.map(|()| all) }).try_flatten()
    }

    /// How the containers differ, if all keys are compared.
    pub(super) fn diff_containers(&self, newer: &Self, prefix: &Prefix) -> Vec<Change> {
        let is_whole = *prefix == Prefix::all();
        if is_whole { container_changes(&self.record().containers, &newer.record().containers) } else { Vec::new() }
    }

    /// Which files are pinned in other states, if all keys are compared.
    pub(super) fn diff_files(&self, newer: &Self, prefix: &Prefix) -> impl Stream<Item = Result<Change>> + Send + use<> {
        let is_whole = *prefix == Prefix::all();
        let files = stream::iter(is_whole.then(|| map_changes(self, newer, |of| of.files, Span::all()))).flatten();
        files.try_filter_map(|change| async move {
            Ok(match (change.old, change.new) {
                (Some(old), Some(new)) if is_other_state(&old, &new) => {
                    Some(Change::File { file: FileKey::from_map_key(&change.key)?, old, new })
                }
                // Files that were added or removed show in the changes of their keys.
                _ => None,
            })
        })
    }
}

/// `Unsupported` when two snapshots have ids of different hashes.
pub(crate) fn comparable(a: &Snapshot, b: &Snapshot) -> Result<()> {
    let (hash, other) = (a.repository().hash(), b.repository().hash());
    if hash == other {
        return Ok(());
    }
    Err(Error::unsupported(format!("snapshots with ids of {} and of {} cannot be compared", hash.name(), other.name())))
}

/// The changes from one map to another; nothing is read before the first is asked for.
pub(crate) fn map_changes<V: CachedValue>(
    old: &Snapshot,
    new: &Snapshot,
    root: fn(&Commit) -> NodeId,
    span: Span,
) -> impl Stream<Item = Result<map::MapChange<V>>> + Send + use<V> {
    let side = |snapshot: &Snapshot| (snapshot.nodes(), root(snapshot.record()));
    let sides = (side(old), side(new), span);
    let snapshots = (old.clone(), new.clone());
    let changes = stream::try_unfold(None, move |open| {
        let (old, new, span) = sides.clone();
        async move {
            let mut diff = match open {
                Some(diff) => diff,
                None => Diff::shared(old, new, span).await?,
            };
            Ok(diff.next().await?.map(|change| (change, Some(diff))))
        }
    });
    changes.or_else(move |error: Error| {
        let (old, new) = snapshots.clone();
        async move { Err(new.explained(old.explained(error).await).await) }.boxed()
    })
}

/// How the containers of two snapshots differ. Both lists are sorted by name.
pub(crate) fn container_changes(old: &[Container], new: &[Container]) -> Vec<Change> {
    let find = |list: &[Container], name: &str| list.iter().find(|c| c.name == name).cloned();
    let mut names: Vec<_> = old.iter().chain(new).map(|c| &c.name).collect();
    names.sort_unstable();
    names.dedup();
    let changes = names.into_iter().map(|name| Change::Container { name: name.clone(), old: find(old, name), new: find(new, name) });
    changes.filter(|change| !matches!(change, Change::Container { old, new, .. } if old == new)).collect()
}

/// Whether two records pin different states of a file. Counts are ignored. The time of the lookup is ignored too, unless
/// the source tells no date: then that time is the validator.
pub(crate) fn is_other_state(old: &VirtualFile, new: &VirtualFile) -> bool {
    let state = |record: &VirtualFile| {
        let state = Validator::of(record);
        if state.modified.is_some() { Validator { pinned_at: crate::time::Timestamp::MIN, ..state } } else { state }
    };
    state(old) != state(new)
}
