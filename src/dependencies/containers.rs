//! Adding, changing and removing containers, each refused where files of the branch would lose their place.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt as _;

use super::DependencyCounts;
use crate::error::{Error, Result};
use crate::format::{Container, FileKey};
use crate::session::WriteSession;
use crate::snapshot::Snapshot;
use crate::text::printable_line;

impl Snapshot {
    /// Every container of the snapshot, sorted by name, with what lies in it. Costs a walk over the files, not over the references.
    pub async fn container_uses(&self) -> Result<Vec<(Container, DependencyCounts)>> {
        let mut uses: BTreeMap<String, DependencyCounts> = BTreeMap::new();
        let mut all = std::pin::pin!(self.dependencies());
        while let Some(found) = all.try_next().await? {
            let name = found.file.container();
            if !uses.contains_key(name) {
                uses.insert(name.to_owned(), DependencyCounts::default());
            }
            if let Some(counts) = uses.get_mut(name) {
                counts.add_file(found.record.refs, found.record.bytes);
            }
        }
        let of = |container: &Container| uses.get(&container.name).copied().unwrap_or_default();
        Ok(self.record().containers.iter().map(|container| (container.clone(), of(container))).collect())
    }
}

impl WriteSession {
    /// Stages a container of a new name. References that are staged from now on use it if its template fits their URLs best; files
    /// keep the names that they have ([`rename_files`](Self::rename_files) gives them new ones).
    ///
    /// `Invalid` when there is a container of that name, and as [`Container::check`] says.
    pub fn add_container(&self, container: Container) -> Result<()> {
        if self.containers().iter().any(|known| known.name == container.name) {
            return Err(Error::invalid(format!(
                "container {} exists on {}; give it another definition instead",
                container.name,
                self.branch()
            )));
        }
        self.set_container(container)
    }

    /// Stages another definition of a container.
    ///
    /// `NotFound` when there is none of that name. `Invalid` when the URL of a file of the branch, or of one into which references are
    /// staged, would be another: an archive that moved is followed by [`relocate`](Self::relocate), which looks at the files in their new
    /// place. Otherwise as
    /// [`set_container`](Self::set_container). Costs a walk over the files of the branch.
    pub async fn change_container(&self, container: Container) -> Result<()> {
        let name = container.name.clone();
        container.check()?;
        let before = self.containers();
        if before.iter().all(|known| known.name != name) {
            return Err(self.no_container(&name));
        }
        let changed = |known: &Container| if known.name == name { container.clone() } else { known.clone() };
        let after: Vec<Container> = before.iter().map(changed).collect();
        let (mut moved, mut first, early, mut recorded) = (0_u64, None, self.staged_in(&name)?, BTreeSet::new());
        let mut all = std::pin::pin!(self.base().dependencies());
        while let Some(found) = all.try_next().await? {
            recorded.extend(early.get(&found.file));
            if found.file.container() == name && found.file.url(&after).ok().as_ref() != Some(&found.url) {
                moved += 1;
                first.get_or_insert(found.url);
            }
        }
        // One after the other with what names files, so that no file gets a name of the old definition after this.
        let mut naming = self.naming();
        for file in self.staged_in(&name)?.iter().filter(|file| !recorded.contains(file)) {
            let url = file.url(&before)?;
            if file.url(&after).ok().as_ref() != Some(&url) {
                moved += 1;
                first.get_or_insert(url);
            }
        }
        if let Some(url) = first {
            return Err(Error::invalid(format!(
                "container {name} is in use, and its new definition gives {moved} of its files another place, such as {}; \
                 where an archive has moved, move its dependencies, which looks at the files in their new place",
                printable_line(&url)
            )));
        }
        self.staged.lock().set_container(container, &self.base().record().containers);
        *naming = None;
        Ok(())
    }

    /// Stages the removal of a container. The commit is `Invalid`, and tells how many files there are, if files lie in it by then.
    ///
    /// `NotFound` when there is none of that name; `Invalid` when files of the branch lie in it, or files into which this session has
    /// staged references. Costs a walk over the files of the branch. A session that removes a container cannot be forked.
    pub async fn remove_container(&self, name: &str) -> Result<()> {
        if self.containers().iter().all(|known| known.name != name) {
            return Err(self.no_container(name));
        }
        let all = self.base().container_uses().await?;
        let found = all.iter().find(|(container, _)| container.name == name).map(|(_, found)| *found);
        let DependencyCounts { files, refs, .. } = found.unwrap_or_default();
        if files > 0 {
            return Err(Error::invalid(format!(
                "container {name} is in use and cannot be removed: {files} files with {refs} references lie in it"
            )));
        }
        // One after the other with what names files, so that no name comes from the removed definition.
        let mut naming = self.naming();
        let staged = self.staged_in(name)?.len();
        if staged > 0 {
            return Err(Error::invalid(format!(
                "container {name} cannot be removed: this session has staged references into {staged} files in it"
            )));
        }
        self.staged.lock().remove_container(name);
        *naming = None;
        Ok(())
    }

    /// The files of a container into which this session has staged references.
    fn staged_in(&self, container: &str) -> Result<BTreeSet<FileKey>> {
        let staged = self.staged.lock();
        let in_use = staged.files_in_use()?;
        Ok(in_use.into_keys().filter(|file| file.container() == container).cloned().collect())
    }

    /// How many of the files into which references are staged lie in automatic containers, where each is named by all of its URL. Where
    /// there are many, [`suggest_containers`](Snapshot::suggest_containers) tells templates that make their names short.
    pub fn automatic_files(&self) -> u64 {
        let staged = self.staged.lock();
        staged.files().keys().filter(|file| file.container().contains("://")).count() as u64
    }

    fn no_container(&self, name: &str) -> Error {
        let names: Vec<_> = self.containers().into_iter().map(|known| known.name).collect();
        let known = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        Error::not_found(format!("there is no container {} on {}; {known}", printable_line(name), self.branch()))
    }
}
