//! The lists of changed keys beside snapshots: what they say is found out anew.

use std::collections::HashSet;

use super::finding::{Finding, FindingKind};
use super::reach::Versions;
use super::{Verifier, is_damage};
use crate::error::Result;
use crate::format::{ChangeList, ChangedEntry, Entry, VirtualFile};
use crate::history::is_other_state;
use crate::id::SnapshotId;
use crate::map::Map;
use crate::storage::ObjectName;

/// What a list is wrong about.
enum WrongList {
    /// A key; it is the first.
    Key(String),
    /// Whether files were pinned anew.
    Files,
}

impl Verifier<'_> {
    /// Reads the list beside a version. That there is none is no damage.
    pub(super) async fn read_changes(&self, id: SnapshotId) -> Result<Option<ChangeList>> {
        match self.repository.objects().read_changes(&id).await {
            Err(e) if is_damage(&e) => {
                self.findings.add(Finding::new(FindingKind::Corrupt, ObjectName::changes(&id), e.to_string()).version(id));
                Ok(None)
            }
            list => list,
        }
    }

    /// Compares a list with the maps of the version and its first parent, if both are here, and whole.
    pub(super) async fn check_changes(
        &self,
        versions: &Versions,
        whole: &HashSet<SnapshotId>,
        id: SnapshotId,
        list: &ChangeList,
    ) -> Result<()> {
        let Some(commit) = versions.commits.get(&id) else { return Ok(()) };
        let wrong = |message: &str| {
            let message = format!("{message}; no reader needs the list, so the object can be removed");
            Finding::new(FindingKind::Misrecorded, ObjectName::changes(&id), message).version(id)
        };
        let Some(parent) = commit.parents.first() else {
            self.findings.add(wrong("its snapshot has no parent"));
            return Ok(());
        };
        let Some(before) = versions.commits.get(parent) else { return Ok(()) };
        if !list.is_between(before, commit) {
            self.findings.add(wrong("it is the list of other versions"));
            return Ok(());
        }
        if !whole.contains(parent) || !whole.contains(&id) {
            return Ok(());
        }
        let finding = match self.first_wrong(list).await {
            Ok(None) => return Ok(()),
            Ok(Some(WrongList::Key(key))) => wrong(&format!("it says other than the two manifests, first of {key}")).key(key),
            Ok(Some(WrongList::Files)) => wrong("it says other than the two files maps about files that are pinned anew"),
            // A node that could be read before.
            Err(e) if is_damage(&e) => Finding::new(FindingKind::Corrupt, ObjectName::changes(&id), e.to_string()).version(id),
            Err(e) => return Err(e),
        };
        self.findings.add(finding);
        Ok(())
    }

    /// What the list is wrong about, if anything.
    async fn first_wrong(&self, list: &ChangeList) -> Result<Option<WrongList>> {
        let [older, newer] = list.manifests.map(|root| Map::<Entry, _>::new(&self.objects, root));
        let mut found = older.diff(&newer).await?;
        let mut said = list.changes.iter();
        loop {
            let found = found.next().await?.map(|change| ChangedEntry { key: change.key, old: change.old, new: change.new });
            let said = said.next();
            if found.as_ref() != said {
                let keys = [found.as_ref(), said].into_iter().flatten().map(|change| &change.key);
                return Ok(keys.min().map(|key| WrongList::Key(key.to_string())));
            }
            if found.is_none() {
                break;
            }
        }
        let [older, newer] = list.files.map(|root| Map::<VirtualFile, _>::new(&self.objects, root));
        let (mut found, mut is_repinned) = (older.diff(&newer).await?, false);
        while let Some(change) = found.next().await?
            && !is_repinned
        {
            is_repinned = matches!((&change.old, &change.new), (Some(old), Some(new)) if is_other_state(old, new));
        }
        Ok((is_repinned != list.is_repinned).then_some(WrongList::Files))
    }
}
