//! Copies and moves: existing values get other names. No bytes of values are read or written, with one exception: a single small value
//! that is stored in another form (inline or as a chunk) under its new name.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt;

use super::staged::PlaceWatch;
use super::{StagedFile, WriteSession};
use crate::error::{Error, Result};
use crate::format::{Container, Entry, FileKey};
use crate::history::KeptPart;
use crate::id::SnapshotId;
use crate::key::{Key, Prefix};
use crate::snapshot::{KeyOrPrefix, Snapshot};

/// How often a copy or a move begins anew because other calls of its session stage something in the same places.
pub(super) const ATTEMPTS: usize = 16;

/// What happens to keys at or below the destination of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// The copy is refused.
    #[default]
    Refuse,
    /// They are deleted, so that the destination holds exactly the copy. A key that another writer sets there before the commit is a
    /// conflict.
    Replace,
}

/// What a copy or a move staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Copied {
    /// Keys that have got another name.
    pub keys: u64,
    /// The sizes of their values together, in bytes.
    pub bytes: u64,
    /// Whether something was deleted to make room.
    pub replaced: bool,
}

/// Everything that a copy needs, judged before anything of it is staged.
#[derive(Debug, Default)]
struct CopyPlan {
    entries: Vec<(Key, Entry)>,
    /// A value that is stored in another form under its new name.
    value: Option<(Key, Bytes)>,
    files: Vec<(FileKey, StagedFile)>,
    containers: Vec<Container>,
    /// The snapshot whose containers these are.
    origin: Option<SnapshotId>,
    counts: Copied,
}

impl WriteSession {
    /// Stages a copy of what `source` names in `from`, any snapshot of this repository that a branch or a tag keeps: a key under
    /// the key `to`, or everything below a prefix below the prefix `to`.
    ///
    /// References into files take what is pinned of those files with them, and their containers: `Conflict` when the session has a
    /// container of that name with another definition. `NotFound` when the source does not exist, `Invalid` when something lies
    /// at the destination and `existing` does not say to replace it, or when nothing keeps `from`, so that what it holds cannot
    /// be relied on. `Conflict` also when other calls of this session go on staging changes at the destination. After an error, or if
    /// the future is dropped, the session's keys are as they were.
    pub async fn copy_from(&self, from: &Snapshot, source: &KeyOrPrefix, to: &str, existing: Existing) -> Result<Copied> {
        self.require_kept(from).await?;
        for _ in 0..ATTEMPTS {
            let watch = self.staged.lock().watch(places(to));
            if let Some(copied) = self.try_copy(from, source, to, existing, &watch).await? {
                return Ok(copied);
            }
        }
        Err(busy(to))
    }

    /// `None` when another call staged something at the destination meanwhile.
    async fn try_copy(
        &self,
        from: &Snapshot,
        source: &KeyOrPrefix,
        to: &str,
        existing: Existing,
        watch: &PlaceWatch,
    ) -> Result<Option<Copied>> {
        let mut plan = match source {
            KeyOrPrefix::Key(key) => {
                let entry = from.entry(key).await?.ok_or_else(|| absent(key.as_str(), from))?;
                let to = Key::new(to)?;
                if is_kept_otherwise(&entry, &to) {
                    CopyPlan::of_value(to, from.value_of(key, &entry, None).await?)
                } else {
                    CopyPlan::of(vec![(to, entry)])
                }
            }
            KeyOrPrefix::Prefix(prefix) => {
                let mut found = Vec::new();
                let mut below = std::pin::pin!(from.list(prefix));
                while let Some(entry) = below.try_next().await? {
                    found.push(entry);
                }
                if found.is_empty() {
                    return Err(absent(prefix.as_str(), from));
                }
                CopyPlan::of(renamed(found, prefix, &Prefix::new(to)?)?)
            }
        };
        plan.take_files(from).await?;
        self.require_same_containers(&self.containers(), &plan)?;
        let room = self.room_at(to, existing).await?;
        self.carry_out(plan, room, None, watch).await
    }

    /// Stages a move: what is at or below `source`, as a commit would leave it, gets the name `to` instead. A key stays a key, a prefix
    /// a prefix; `source` means a key if there is one and it does not end in `/`.
    ///
    /// Fails as [`copy_from`](Self::copy_from) does; what other calls of this session stage at the source meanwhile is moved too. A key
    /// that another writer sets below a moved prefix before the commit is a conflict. A policy that drops the staged changes at one end of
    /// a move drops the whole move. After an error, or if
    /// the future is dropped, the session's keys are as they were.
    pub async fn rename(&self, source: &str, to: &str, existing: Existing) -> Result<Copied> {
        if source.trim_end_matches('/') == to.trim_end_matches('/') {
            // A move that only adds or drops the slash would delete what it moves.
            return Err(Error::invalid(format!("{source:?} and {to:?} are one name")));
        }
        self.require_kept(&self.base).await?;
        for _ in 0..ATTEMPTS {
            let watch = self.staged.lock().watch([places(source), places(to)].concat());
            if let Some(moved) = self.try_rename(source, to, existing, &watch).await? {
                return Ok(moved);
            }
        }
        Err(busy(source))
    }

    /// `None` when another call staged something at the source or the destination meanwhile.
    async fn try_rename(&self, source: &str, to: &str, existing: Existing, watch: &PlaceWatch) -> Result<Option<Copied>> {
        let key = Key::new(source).ok();
        let entry = match &key {
            Some(key) => self.entry(key).await?,
            None => None,
        };
        let (mut plan, moved, known) = if let (Some(key), Some(entry)) = (key, entry) {
            let known = self.files_known_but_to([(&key, &entry)])?;
            let to = Key::new(to)?;
            let moved = [KeyOrPrefix::Key(key.clone()), KeyOrPrefix::Key(to.clone())];
            let plan = if is_kept_otherwise(&entry, &to) {
                let Some(value) = self.get(&key).await? else { return Ok(None) };
                CopyPlan::of_value(to, value)
            } else {
                CopyPlan::of(vec![(to, entry)])
            };
            (plan, moved, known)
        } else {
            let prefix = Prefix::new(source)?;
            let found = self.list(&prefix).await?;
            if found.is_empty() {
                return Err(Error::not_found(format!("nothing lies at or below {source} on {}", self.branch)));
            }
            let known = self.files_known_but_to(found.iter().map(|(key, entry)| (key, entry)))?;
            let to = Prefix::new(to)?;
            (CopyPlan::of(renamed(found, &prefix, &to)?), [KeyOrPrefix::Prefix(prefix), KeyOrPrefix::Prefix(to)], known)
        };
        plan.take_files_but(&self.base, &known).await?;
        let room = self.room_at(to, existing).await?;
        self.carry_out(plan, room, Some(moved), watch).await
    }

    /// The files of which this session knows all that counts for `entries`: not those that it has looked up itself, and into which
    /// some of the entries point as the branch has them.
    fn files_known_but_to<'e>(&self, entries: impl IntoIterator<Item = (&'e Key, &'e Entry)>) -> Result<BTreeSet<FileKey>> {
        let mut known: BTreeMap<_, _> = self.staged.lock().files().iter().map(|(file, known)| (file.clone(), known.repin)).collect();
        for (key, entry) in entries {
            if let Some(file) = entry.file()
                && known.get(file) == Some(&false)
                && self.staged.lookup(key.as_map_key())? == super::staged::Lookup::Untouched
            {
                known.remove(file);
            }
        }
        Ok(known.into_keys().collect())
    }

    /// Refuses a snapshot that no ref keeps. A later garbage collection may have removed a part of it, so its objects cannot be linked
    /// without writing them again.
    pub(crate) async fn require_kept(&self, from: &Snapshot) -> Result<()> {
        let repository = self.base.repository();
        if !repository.is_same(from.repository()) {
            return Err(Error::invalid(format!("snapshot {} was opened from another repository than the session", from.id())));
        }
        // Read from a ref, and not yet behind a collection of which the session has learned since.
        if from.id() == self.base.id() && !self.known.has_risen() {
            return Ok(());
        }
        if let Some(epoch) = repository.keeps(from.id(), from.record().time, KeptPart::Data).await? {
            self.known.lower(epoch);
            return Ok(());
        }
        Box::pin(from.expiry()).await?;
        Err(Error::invalid(format!(
            "snapshot {id} is kept by no branch or tag of this repository, so nothing of it can be linked; write it anew with: \
             firn car export {id} FILE, then firn car import FILE --tag NAME",
            id = from.id()
        )))
    }

    /// Refuses files whose containers have another definition in this session.
    fn require_same_containers(&self, here: &[Container], plan: &CopyPlan) -> Result<()> {
        for theirs in &plan.containers {
            if let Some(ours) = here.iter().find(|ours| ours.name == theirs.name && *ours != theirs) {
                return Err(Error::conflict(format!(
                    "container {} is {}{} and {} on {}; copy under one definition",
                    ours.name,
                    described(theirs),
                    plan.origin.map(|id| format!(" in snapshot {id}")).unwrap_or_default(),
                    described(ours),
                    self.branch
                )));
            }
        }
        Ok(())
    }

    /// What must be deleted to make room at `to`; `Invalid` when a key exists there and `existing` does not say to replace it.
    async fn room_at(&self, to: &str, existing: Existing) -> Result<Room> {
        let prefix = Prefix::new(to)?;
        let key = Key::new(to.trim_end_matches('/')).ok();
        let is_key = match &key {
            Some(key) => self.entry(key).await?.is_some(),
            None => false,
        };
        let replaced = is_key || self.has_below(&prefix).await?;
        if existing == Existing::Replace {
            // The prefix is deleted even if there is nothing below it yet: then a key that another writer sets there before the commit
            // is a conflict.
            return Ok(Room { replaced, key, prefix: Some(prefix) });
        }
        if replaced {
            let what = if is_key { "exists" } else { "is not empty" };
            let shown = if to.is_empty() { "the root" } else { to };
            return Err(Error::invalid(format!("{shown} {what} on {}; choose another name, or overwrite it", self.branch)));
        }
        Ok(Room { replaced, key: None, prefix: None })
    }

    async fn has_below(&self, prefix: &Prefix) -> Result<bool> {
        let staged = self.staged.below(prefix);
        let mut edits = staged.edits(Some(prefix))?;
        while let Some((_, entry)) = edits.next()? {
            if entry.is_some() {
                return Ok(true);
            }
        }
        if staged.covering(prefix.as_str()).is_some() {
            // Everything that the base holds there is deleted.
            return Ok(false);
        }
        let mut below = std::pin::pin!(self.base.list(prefix));
        while let Some((key, _)) = below.try_next().await? {
            if staged.lookup(key.as_map_key())? == super::staged::Lookup::Untouched {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Stages a plan as a whole. `None`, and nothing is staged, if another call has staged something in a watched place since the plan
    /// was made.
    async fn carry_out(
        &self,
        mut plan: CopyPlan,
        room: Room,
        moved: Option<[KeyOrPrefix; 2]>,
        watch: &PlaceWatch,
    ) -> Result<Option<Copied>> {
        if let Some((key, value)) = plan.value.take() {
            let entry = self.stored_value(&key, value).await?;
            plan.entries.push((key, entry));
        }
        self.staged.make_room().await?;
        let mut naming = self.naming();
        let mut staged = self.staged.lock();
        if watch.is_touched() {
            return Ok(None);
        }
        self.require_same_containers(&staged.containers_over(&self.base.record().containers), &plan)?;
        plan.containers.iter().try_for_each(Container::check)?;
        let files = std::mem::take(&mut plan.files).into_iter().map(|(file, known)| {
            let known = staged.with_file(&file, known)?;
            Ok((file, known))
        });
        let files: Vec<_> = files.collect::<Result<_>>()?;
        // From here on nothing fails and nothing waits: half a move would lose what it moves.
        for (file, known) in files {
            staged.set_file(file, known);
        }
        for container in plan.containers {
            staged.set_container(container, &self.base.record().containers);
            *naming = None;
        }
        let (mut key, mut prefix) = (None, None);
        if let Some([from, to]) = moved {
            match from.clone() {
                KeyOrPrefix::Key(gone) => key = Some(gone),
                KeyOrPrefix::Prefix(gone) => prefix = Some(gone),
            }
            staged.moves_mut().add(from, to);
        }
        for key in [key, room.key].into_iter().flatten() {
            staged.insert(key.as_map_key().clone(), None);
        }
        for prefix in [prefix, room.prefix].into_iter().flatten() {
            staged.delete_prefix(&prefix);
        }
        for (key, entry) in plan.entries {
            staged.insert(key.as_map_key().clone(), Some(entry));
        }
        Ok(Some(Copied { replaced: room.replaced, ..plan.counts }))
    }
}

/// What a copy to `text`, or a move from there, looks at.
fn places(text: &str) -> Vec<KeyOrPrefix> {
    let key = Key::new(text.trim_end_matches('/')).ok().map(KeyOrPrefix::Key);
    key.into_iter().chain(Prefix::new(text).ok().map(KeyOrPrefix::Prefix)).collect()
}

pub(super) fn busy(place: &str) -> Error {
    Error::conflict(format!("other calls of this session stage changes at or below {place:?} all the time; repeat the call after them"))
}

/// What is deleted at the destination of a copy.
struct Room {
    /// Whether anything lies there.
    replaced: bool,
    key: Option<Key>,
    prefix: Option<Prefix>,
}

impl CopyPlan {
    fn of(entries: Vec<(Key, Entry)>) -> Self {
        let bytes = entries.iter().fold(0_u64, |sum, (_, entry)| sum.saturating_add(entry.size()));
        let counts = Copied { keys: entries.len() as u64, bytes, replaced: false };
        Self { entries, counts, ..Self::default() }
    }

    fn of_value(key: Key, value: Bytes) -> Self {
        let counts = Copied { keys: 1, bytes: value.len() as u64, replaced: false };
        Self { value: Some((key, value)), counts, ..Self::default() }
    }

    /// Notes the files of the entries, as `from` knows them, and their containers.
    async fn take_files(&mut self, from: &Snapshot) -> Result<()> {
        self.take_files_but(from, &BTreeSet::new()).await?;
        let used: BTreeSet<_> = self.files.iter().map(|(file, _)| file.container()).collect();
        let mut defined: BTreeMap<_, _> = from.record().containers.iter().map(|c| (c.name.as_str(), c)).collect();
        defined.retain(|name, _| used.contains(name));
        self.containers = defined.into_values().cloned().collect();
        self.origin = Some(from.id());
        Ok(())
    }

    async fn take_files_but(&mut self, from: &Snapshot, known: &BTreeSet<FileKey>) -> Result<()> {
        let used: BTreeSet<_> = self.entries.iter().filter_map(|(_, entry)| entry.file()).filter(|file| !known.contains(*file)).collect();
        let keys: Vec<_> = used.iter().map(|file| file.as_map_key().clone()).collect();
        let records = from.file_map().find_many(&keys).await?;
        let mut files = Vec::with_capacity(keys.len());
        for (file, record) in used.into_iter().zip(records) {
            let record = record.ok_or_else(|| Error::corrupt(format!("{file}, which keys lie in, is not in the files map")))?;
            files.push((file.clone(), StagedFile::of(&record)));
        }
        self.files = files;
        Ok(())
    }
}

/// The entries below `prefix` as they are called below `to`.
fn renamed(entries: Vec<(Key, Entry)>, prefix: &Prefix, to: &Prefix) -> Result<Vec<(Key, Entry)>> {
    let inside = prefix.as_str().len();
    let renamed = entries.into_iter().map(|(key, entry)| Ok((to.join(key.as_str().get(inside..).unwrap_or_default())?, entry)));
    renamed.collect()
}

/// Whether a native value is stored in another form under the name `to`: the longest inline value depends on the name.
fn is_kept_otherwise(entry: &Entry, to: &Key) -> bool {
    let fits = entry.size() <= Entry::inline_limit(to.as_str()) as u64;
    entry.file().is_none() && matches!(entry, Entry::Inline(_)) != fits
}

fn absent(name: &str, from: &Snapshot) -> Error {
    Error::not_found(format!("nothing lies at or below {name} in snapshot {}", from.id()))
}

fn described(container: &Container) -> String {
    let Container { template, defaults, options, .. } = container;
    let settings = defaults.iter().chain(options).map(|(name, value)| format!("{name}={value}"));
    std::iter::once(template.clone()).chain(settings).collect::<Vec<_>>().join(" ")
}
