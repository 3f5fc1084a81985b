//! Detects what both sides changed: keys, containers, files. Pure: the same changes always give the same conflicts.

use std::collections::{BTreeMap, BTreeSet};

use super::{Conflict, ConflictKind};
use crate::error::{Error, ErrorDetail};
use crate::format::{Container, Entry, FileKey, VirtualFile};
use crate::map::MapChange;
use crate::refs::Ref;
use crate::session::{FileInUse, Lookup, Relied, Staged, WriteSession};
use crate::virtuals::{Validator, is_at_or_below};

/// The files that staged references point into, and those that are pinned anew by themselves.
type Files<'s> = BTreeMap<&'s FileKey, FileInUse<'s>>;

/// How many names a message shows.
pub(super) const SHOWN: usize = 8;

/// How many names are kept; the rest is counted. Two writers of a large array may have millions of keys in common.
const KEPT: usize = 10_000;

/// Containers and files that this session changes, and that references which the other side added or renamed depend on.
#[derive(Debug, Default)]
pub(super) struct Added {
    /// Containers that are given another definition.
    pub(super) redefined: BTreeSet<String>,
    /// Files that are pinned anew.
    pub(super) repinned: BTreeSet<FileKey>,
    /// Files that are moved.
    pub(super) moved: BTreeSet<FileKey>,
    /// Files that are not moved and lie in the place from which all are moved.
    pub(super) left: BTreeSet<FileKey>,
    /// Files that are pinned anew, with another file into which the other side let the same bytes of a reference point.
    pub(super) renamed: BTreeMap<FileKey, FileKey>,
    /// Containers that are removed, without those that stay while files lie in them.
    pub(super) removed: BTreeSet<String>,
}

/// What a file of this session, which is not in conflict, becomes on the new tip.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileOnTip {
    /// What was staged of it.
    Staged,
    /// It is recorded with this, because both sides recorded something of one state of it.
    Joined(Validator),
    /// The other side dropped the last reference into it, so nothing is recorded of it.
    Dropped,
}

impl Added {
    /// Takes a reference into `file`.
    pub(super) fn see(&mut self, staged: &Staged, base: &[Container], tip: &[Container], file: &FileKey) {
        self.see_repinned(staged, file);
        self.see_container(staged, base, tip, file);
        if staged.relied().get(file) == Some(&Relied::Moved) {
            self.moved.insert(file.clone());
        }
        if let Some(place) = staged.moved_from()
            && !staged.relied().contains_key(file)
            && file.url(tip).is_ok_and(|url| is_at_or_below(&url, place))
        {
            self.left.insert(file.clone());
        }
    }

    /// Takes a reference into a file, as far as the file is pinned anew.
    pub(super) fn see_repinned(&mut self, staged: &Staged, file: &FileKey) {
        if staged.files().get(file).is_some_and(|ours| ours.repin) {
            self.repinned.insert(file.clone());
        }
    }

    /// Takes a reference into a file, as far as its container is changed or removed.
    pub(super) fn see_container(&mut self, staged: &Staged, base: &[Container], tip: &[Container], file: &FileKey) {
        let find = |set: &'_ [Container]| set.iter().find(|c| c.name == file.container()).cloned();
        if let Some(ours) = staged.containers().get(file.container())
            && let Some(before) = find(base)
            && before != *ours
            && find(tip).as_ref() != Some(ours)
        {
            self.redefined.insert(ours.name.clone());
        }
        if staged.removed_containers().contains(file.container())
            && let Some(now) = find(tip)
            && !now.is_automatic()
        {
            self.removed.insert(now.name);
        }
    }

    /// Takes a change of the other side that stays.
    pub(super) fn see_renamed(&mut self, staged: &Staged, change: &MapChange<Entry>) {
        if let (Some(Entry::Virtual { file, offset, length }), Some(Entry::Virtual { file: now, offset: begin, length: count })) =
            (&change.old, &change.new)
            && file != now
            && (offset, length) == (begin, count)
            && staged.files().get(file).is_some_and(|ours| ours.repin)
        {
            self.renamed.entry(file.clone()).or_insert_with(|| now.clone());
        }
    }
}

/// What was changed on both sides, by kind and name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Conflicts {
    named: BTreeMap<(ConflictKind, String), Option<String>>,
    unnamed: usize,
}

impl Conflicts {
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Everything by name, by kind and then sorted: at most the first 10,000.
    pub(crate) fn into_list(self) -> Vec<Conflict> {
        self.named.into_iter().map(|((kind, name), why)| Conflict { kind, name, why }).collect()
    }

    /// Adds what `other` holds.
    pub(crate) fn extend(&mut self, other: Self) {
        for ((kind, name), why) in other.named {
            self.add(kind, name, why);
        }
        self.unnamed += other.unnamed;
    }

    pub(super) fn add(&mut self, kind: ConflictKind, name: String, why: Option<String>) {
        if self.named.len() < KEPT || self.named.contains_key(&(kind, name.clone())) {
            self.named.insert((kind, name), why);
        } else {
            self.unnamed += 1;
        }
    }

    /// The keys that a message would show.
    pub(super) fn shown_keys(&self) -> Vec<String> {
        let keys = self.named.keys().filter(|(kind, _)| *kind == ConflictKind::Key);
        keys.take(SHOWN).map(|(_, name)| name.clone()).collect()
    }

    /// The first names, and how many more there are, for a message.
    fn shown(&self) -> String {
        let said = self.clone().into_list().into_iter().take(SHOWN).map(|conflict| match &conflict.why {
            Some(why) => format!("{conflict} ({why})"),
            None => conflict.to_string(),
        });
        let shown = said.collect::<Vec<_>>().join(", ");
        let more = self.named.len().saturating_sub(SHOWN) + self.unnamed;
        if more > 0 { format!("{shown} and {more} more") } else { shown }
    }

    /// The error that a merge of a fork's changes ends with.
    pub(super) fn to_merge_error(&self) -> Error {
        let message = format!(
            "the fork, and its session or another fork since it was taken, both changed {}; nothing was merged; give each fork its own \
             keys, or merge it into a session of its own",
            self.shown()
        );
        let named = self.clone().into_list().iter().map(ToString::to_string).collect();
        Error::conflict(message).about(ErrorDetail::ForkConflicts { named, more: self.unnamed })
    }

    /// Whether one is about a container or a file, which no policy settles.
    fn are_about_references(&self) -> bool {
        self.named.keys().any(|(kind, _)| matches!(kind, ConflictKind::Container | ConflictKind::File))
    }

    /// The error that the application of other versions to a branch ends with; `applied` says what was to be applied.
    pub(crate) fn to_applied_error(&self, branch: &Ref, applied: &str) -> Error {
        let next = if self.are_about_references() {
            "make them alike on one side first: no policy settles containers and files"
        } else {
            "say whose changes stay, for all or for the prefix of each: ours, those of the branch, or theirs"
        };
        let message = format!("{applied} and {branch} both changed {}; {next}", self.shown());
        let named = self.clone().into_list().iter().map(ToString::to_string).collect();
        Error::conflict(message).about(ErrorDetail::MergeConflicts { named, more: self.unnamed })
    }

    /// The error that a commit ends with.
    pub(crate) fn to_error(&self, session: &WriteSession) -> Error {
        if session.applied.is_some() {
            return self.to_applied_error(&session.branch, "what is applied");
        }
        let shown = self.shown();
        let is_about_references = self.are_about_references();
        let next = if is_about_references {
            "start again from the new tip, which no --on-conflict replaces for containers and files"
        } else {
            "start again from the new tip, or commit with --on-conflict ours or theirs"
        };
        Error::conflict(format!("{} moved from {} and both sides changed {shown}; {next}", session.branch, session.base.id()))
    }

    /// Notes a key that the other side changed as a conflict if `ours`, the staged change, gives it another value. Returns whether it does.
    pub(super) fn key(&mut self, ours: &Lookup, theirs: &MapChange<Entry>) -> bool {
        let differs = differs(ours, theirs.new.as_ref());
        if differs {
            self.add(ConflictKind::Key, theirs.key.as_str().to_owned(), None);
        }
        differs
    }

    /// Containers that both sides defined differently, or that the other side changed under entries staged here. Returns the automatic
    /// ones that the other side dropped, because nothing of its own lies in them, while staged entries do: their names say all that they
    /// are, so they come back as they were.
    pub(super) fn containers(&mut self, staged: &Staged, in_use: &Files<'_>, base: &[Container], tip: &[Container]) -> Vec<Container> {
        let find = |set: &'_ [Container], name: &str| set.iter().find(|c| c.name == name).cloned();
        let used = in_use.keys().map(|file| file.container());
        let removed = staged.removed_containers();
        let names: BTreeSet<_> = staged.containers().keys().chain(removed).map(String::as_str).chain(used).collect();
        let mut back = Vec::new();
        for name in names {
            let (before, now) = (find(base, name), find(tip, name));
            let kept = || before.clone().filter(|_| !removed.contains(name));
            let ours = staged.containers().get(name).cloned().or_else(kept);
            match ours {
                Some(ours) if now.is_none() && ours.is_automatic() && before.as_ref() == Some(&ours) => back.push(ours),
                ours if now != before && now != ours => self.add(ConflictKind::Container, name.to_owned(), None),
                _ => {}
            }
        }
        back
    }

    /// A file whose validator the other side changed to one that differs from the one staged here, or tells nothing that shows that both
    /// are of one state of the file, or that is pinned anew here while the other side added a reference into it as it was, or gave it
    /// another name. In the first of these cases nothing shows that the references of both sides are to one state; in the last one the
    /// pin would be lost.
    pub(super) fn file(
        &mut self,
        file: &FileKey,
        ours: FileInUse<'_>,
        added: &Added,
        before: Option<&VirtualFile>,
        now: Option<&VirtualFile>,
    ) -> FileOnTip {
        let FileInUse { known: ours, is_referenced } = ours;
        let Some(now) = now else {
            if let Some(name) = added.renamed.get(file).filter(|_| ours.repin) {
                let why = format!("the other side lets its references point into {name} instead");
                self.add(ConflictKind::File, file.to_string(), Some(why));
            }
            return if is_referenced || before.is_none() { FileOnTip::Staged } else { FileOnTip::Dropped };
        };
        let theirs_changed = before.is_none_or(|before| Validator::of(before) != Validator::of(now));
        let theirs_depend = ours.repin && added.repinned.contains(file);
        let mut judged = Ok(FileOnTip::Staged);
        if theirs_changed || theirs_depend {
            judged = ours.validator.agrees_with(now).map(|()| FileOnTip::Staged);
        }
        if judged.is_ok() && theirs_changed && now.is_pinned() && !ours.validator.is_pinned() {
            judged = Err("the other side pinned it after references into it were staged here without a pin".to_owned());
        }
        // As the commit will, for the references of both sides.
        if judged.is_ok() && (theirs_depend || (theirs_changed && (ours.repin || is_referenced))) {
            judged = Validator::of(now).joined(ours.validator.clone(), ours.untouched_since).map(|joined| {
                // Whoever looked last saw the same state.
                let latest = now.pinned_at.max(ours.validator.pinned_at);
                let pinned_at = if joined.is_pinned() { latest } else { joined.pinned_at };
                let is_joined = theirs_changed && ours.repin;
                if is_joined { FileOnTip::Joined(Validator { pinned_at, ..joined }) } else { FileOnTip::Staged }
            });
        }
        judged.unwrap_or_else(|why| {
            self.add(ConflictKind::File, file.to_string(), Some(why));
            FileOnTip::Staged
        })
    }

    /// A file from whose record in the base staged changes follow, and of which the other side recorded something else. A file that the
    /// tip has no more is none: every reference into it was changed, and is compared by its key.
    pub(super) fn relied(
        &mut self,
        file: &FileKey,
        relied: Relied,
        added: &Added,
        before: Option<&VirtualFile>,
        now: Option<&VirtualFile>,
    ) {
        let (Some(before), Some(now)) = (before.map(Validator::of), now) else { return };
        let now = &Validator::of(now);
        let is_same_but_for_the_moment = || Validator { pinned_at: now.pinned_at, ..before.clone() } == *now;
        let is_same_state = || before.shares_a_pin(now) || is_same_but_for_the_moment();
        let judged = match relied {
            Relied::State => before.agrees_with(&now.clone().record(0, 0)).is_ok() && is_same_state(),
            // Of a file without a pin the moment says only when a reference was staged last.
            Relied::Record | Relied::Moved => before == *now || !now.is_pinned() && is_same_but_for_the_moment(),
        };
        let why = match judged {
            false => format!("the other side recorded another state of it: {}", before.differences(now)),
            true if added.moved.contains(file) => "the other side added a reference into it in its old place".to_owned(),
            true => return,
        };
        self.add(ConflictKind::File, file.to_string(), Some(why));
    }
}

/// Whether the change staged for a key (of the key itself, or by a deleted prefix) differs in its result from the other side's change.
pub(super) fn differs(ours: &Lookup, theirs: Option<&Entry>) -> bool {
    match ours {
        Lookup::Set(ours) => theirs != Some(ours),
        Lookup::Deleted => theirs.is_some(),
        Lookup::Untouched => false,
    }
}
