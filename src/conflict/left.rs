//! References that stay as they are where a policy takes back what one side staged or committed around them.
//!
//! A side that records another state of a file, or another place of a container, also changes the references and documents that depend on
//! it. If a policy takes back these changes and the new state stays, the references that are left would silently refer to other bytes.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;

use super::detect::Added;
use crate::error::Result;
use crate::format::{Entry, FileKey, VirtualFile};
use crate::history::map_changes;
use crate::key::{MapKey, Prefix};
use crate::map::Span;
use crate::session::{Lookup, Relied, SharedStaged, Staged};
use crate::snapshot::Snapshot;
use crate::virtuals::Validator;

/// Adds to `added` what the references of the tip at `names` and below `dropped`, where staged changes were dropped, point into.
///
/// A file that is pinned anew counts also if its reference is not staged: the array around it may have been, and says how its bytes are read.
/// Reads the tip below `dropped`, but only if a file is pinned anew or a container changed.
pub(super) async fn see_left(
    added: &mut Added,
    dropped: &BTreeSet<Prefix>,
    names: &BTreeSet<String>,
    staged: &Staged,
    base: &Snapshot,
    tip: &Snapshot,
) -> Result<()> {
    let (before, now) = (&base.record().containers, &tip.record().containers);
    let is_redefined = || before.iter().any(|old| staged.containers().get(&old.name).is_some_and(|ours| ours != old));
    if !staged.files().values().any(|known| known.repin) && staged.removed_containers().is_empty() && !is_redefined() {
        return Ok(());
    }
    let mut see = |key: &MapKey, entry: &Entry| -> Result<()> {
        let Some(file) = entry.file() else { return Ok(()) };
        added.see_repinned(staged, file);
        if staged.layers().lookup(key)? != Lookup::Untouched {
            added.see_container(staged, before, now, file);
        }
        Ok(())
    };
    let manifest = tip.manifest();
    for prefix in dropped {
        let mut below = manifest.scan(Span::prefix(prefix));
        while let Some((key, entry)) = below.next().await? {
            see(&key, &entry)?;
        }
    }
    for name in names {
        if let Some(entry) = manifest.find(name).await? {
            see(&MapKey::new(name.clone()), &entry)?;
        }
    }
    Ok(())
}

/// Notes that the references of the base below `undone`, which stay while changes of the other side around them are undone, rely on the
/// states that the base records of their files.
///
/// Reads the base below `undone`, but only if the other side recorded another state of a file.
pub(super) async fn rely_on_left(
    undone: &BTreeSet<Prefix>,
    kept: &SharedStaged,
    staged: &Staged,
    base: &Snapshot,
    tip: &Snapshot,
) -> Result<()> {
    let mut changed = BTreeSet::new();
    let mut files = std::pin::pin!(map_changes::<VirtualFile>(base, tip, |of| of.files, Span::all()));
    while let Some(change) = files.try_next().await? {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && Validator::of(old) != Validator::of(new)
        {
            let file = FileKey::from_map_key(&change.key)?;
            // A state that is staged of it is compared by itself.
            if staged.files().get(&file).is_none_or(|ours| !ours.repin) {
                changed.insert(file);
            }
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let manifest = base.manifest();
    for prefix in undone {
        let mut below = manifest.scan(Span::prefix(prefix));
        while let Some((key, entry)) = below.next().await? {
            if let Some(file) = entry.file().filter(|file| changed.contains(*file))
                && staged.layers().lookup(&key)? == Lookup::Untouched
                && !kept.lock().relied().contains_key(file)
            {
                kept.lock().rely_on(file.clone(), Relied::State);
            }
        }
    }
    Ok(())
}
