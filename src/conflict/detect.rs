//! What two sides changed in common. Pure: the same changes always give the same conflicts.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::format::{Container, Entry, FileKey, VirtualFile};
use crate::map::Change;
use crate::session::{Lookup, Staged, StagedFile, WriteSession};
use crate::virtuals::Validator;

/// The files that staged references point into.
type Files<'s> = BTreeMap<&'s FileKey, &'s StagedFile>;

/// How many names a message shows.
const SHOWN: usize = 8;

/// What was changed on both sides.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Conflicts {
    keys: BTreeSet<String>,
    containers: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl Conflicts {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.containers.is_empty() && self.files.is_empty()
    }

    /// Everything by name, sorted within its kind.
    pub(crate) fn into_names(self) -> Vec<String> {
        self.keys.into_iter().chain(self.containers).chain(self.files).collect()
    }

    /// The error that a commit ends with.
    pub(crate) fn to_error(&self, session: &WriteSession) -> Error {
        let all: Vec<_> = self.keys.iter().chain(&self.containers).chain(&self.files).map(String::as_str).collect();
        let shown = all.get(..SHOWN.min(all.len())).unwrap_or_default().join(", ");
        let more = all.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Error::conflict(format!("{} moved from {} and both sides changed {shown}{more}", session.branch, session.base.id()))
    }

    /// A key that the other side changed, if it is staged here with another outcome, by itself or by a prefix.
    pub(super) fn key(&mut self, ours: &Lookup, theirs: &Change<Entry>) {
        let differs = match ours {
            Lookup::Set(ours) => theirs.new.as_ref() != Some(ours),
            Lookup::Deleted => theirs.new.is_some(),
            Lookup::Untouched => false,
        };
        if differs {
            self.keys.insert(theirs.key.as_str().to_owned());
        }
    }

    /// Containers that both sides defined differently, or that the other side changed under entries staged here.
    pub(super) fn containers(&mut self, staged: &Staged, in_use: &Files<'_>, base: &[Container], tip: &[Container]) {
        let find = |set: &'_ [Container], name: &str| set.iter().find(|c| c.name == name).cloned();
        let used = in_use.keys().map(|file| file.container());
        let names: BTreeSet<_> = staged.containers().keys().map(String::as_str).chain(used).collect();
        for name in names {
            let (before, now) = (find(base, name), find(tip, name));
            let ours = staged.containers().get(name).cloned().or_else(|| before.clone());
            if now != before && now != ours {
                self.containers.insert(format!("container {name}"));
            }
        }
    }

    /// A reference that the other side added in a container to which this session gives another definition.
    pub(super) fn redefined(&mut self, staged: &Staged, base: &[Container], theirs: &Change<VirtualFile>) {
        let Ok(file) = FileKey::from_map_key(&theirs.key) else { return };
        let before = base.iter().find(|c| c.name == file.container());
        let is_redefined = staged.containers().get(file.container()).is_some_and(|ours| Some(ours) != before);
        let refs = |record: Option<&VirtualFile>| record.map_or(0, |record| record.refs);
        if is_redefined && before.is_some() && refs(theirs.new.as_ref()) > refs(theirs.old.as_ref()) {
            self.containers.insert(format!("container {}", file.container()));
        }
    }

    /// A file whose validator the other side changed to one that differs from the one staged here.
    pub(super) fn file(&mut self, name: &str, ours: &Validator, before: Option<&VirtualFile>, now: Option<&VirtualFile>) {
        let Some(now) = now else { return };
        let theirs_changed = before.is_none_or(|before| Validator::of(before) != Validator::of(now));
        if theirs_changed && ours.agrees_with(now).is_err() {
            self.files.insert(format!("file {name}"));
        }
    }
}
