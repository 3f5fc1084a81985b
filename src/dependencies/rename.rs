//! Gives external files other names inside the repository, in every reference into them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::TryStreamExt as _;

use crate::error::{Error, Result};
use crate::format::{Container, Entry, FileKey, Node};
use crate::key::Prefix;
use crate::map::Walk;
use crate::seeded::Seeded;
use crate::session::{Relied, StagedFile, WriteSession};
use crate::snapshot::KeyOrPrefix;
use crate::virtuals::Locator;

/// The names that files get, by the names that they have.
pub(super) type FileNames = HashMap<FileKey, FileKey, Seeded>;

/// What it takes to rename files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FilesRenamed {
    /// Files that get another name.
    pub files: u64,
    /// References into them, each of which is rewritten.
    pub refs: u64,
    /// Leaves of the manifest in which these references lie.
    pub leaves: u64,
    /// By how much the names are shorter together, each counted once, in bytes; less than 0 if they are longer.
    pub bytes_saved: i64,
}

impl WriteSession {
    /// Stages the given containers where they are new, and then, for every file of the branch, the name that a new reference to its URL
    /// would get. URLs, what is recorded of the files and what the references read stay as they are. Automatic containers in which no
    /// file is left are removed.
    ///
    /// `Invalid` when something is staged already, when a container is not valid, or has the name of another one. Costs a walk over the
    /// files, and one over all references if a file gets another name. Holds what is recorded of all files that do in memory. The commit
    /// is a `Conflict` when another writer has pinned or locked one of them anew meanwhile; so is this call when another call of this
    /// session stages something meanwhile. After an error, or if the future is dropped,
    /// some of it is staged: drop the session. A session with other names cannot be forked.
    pub async fn rename_files(&self, containers: &[Container]) -> Result<FilesRenamed> {
        require_nothing_staged(self)?;
        for container in containers {
            if !self.base().record().containers.contains(container) {
                self.add_container(container.clone())?;
            }
        }
        let definitions = self.staged.lock().definitions();
        let containers = self.containers();
        let locator = Locator::new(&containers)?;
        let (mut names, mut renamed, mut left) = (FileNames::default(), FilesRenamed::default(), BTreeMap::<String, u64>::new());
        let mut records = Vec::new();
        let mut all = std::pin::pin!(self.base().dependencies());
        while let Some(found) = all.try_next().await? {
            let Some(name) = better_name(&locator, &containers, &found.file, &found.url) else {
                *left.entry(found.file.container().to_owned()).or_default() += 1;
                continue;
            };
            renamed.files += 1;
            renamed.bytes_saved += length(&found.file) - length(&name);
            records.push((name.clone(), StagedFile::of(&found.record)));
            names.insert(found.file, name);
        }
        {
            let mut staged = self.staged.lock();
            if !staged.layers().is_empty() || !staged.files().is_empty() || staged.definitions() != definitions {
                return Err(busy());
            }
            // The new names have the records of the base. From here on nobody locks or repins the old ones.
            for file in names.keys() {
                staged.rely_on(file.clone(), Relied::Record);
            }
            records.into_iter().try_for_each(|(name, record)| staged.add_file(&name, record))?;
        }
        remove_left(self, &names, &left);
        (renamed.refs, renamed.leaves) = stage_names(self, &names).await?;
        Ok(renamed)
    }
}

/// The name that a new reference to the file would get, if it is another one and gives the same URL.
pub(super) fn better_name(locator: &Locator, containers: &[Container], file: &FileKey, url: &str) -> Option<FileKey> {
    let located = locator.locate(url).ok().filter(|located| located.container.is_none())?;
    (located.file != *file && located.file.url(containers).ok().as_deref() == Some(url)).then_some(located.file)
}

/// The length of a name in bytes.
pub(super) fn length(file: &FileKey) -> i64 {
    i64::try_from(file.as_map_key().as_str().len()).unwrap_or(i64::MAX)
}

/// Refuses a session in which something is staged already: the files and references of its base are not all that it has.
pub(super) fn require_nothing_staged(session: &WriteSession) -> Result<()> {
    if session.is_unchanged() {
        return Ok(());
    }
    Err(Error::invalid("this session has staged changes; commit them first, or open another session"))
}

/// Another call has staged something while files were looked at, or while their references are rewritten.
pub(super) fn busy() -> Error {
    Error::conflict("another call has staged changes in this session meanwhile; drop it, and begin anew in a session of its own")
}

/// Removes the automatic containers from which files are renamed and in which none is `left`.
pub(super) fn remove_left(session: &WriteSession, names: &FileNames, left: &BTreeMap<String, u64>) {
    let emptied: BTreeSet<&str> =
        names.keys().map(FileKey::container).filter(|name| name.contains("://") && !left.contains_key(*name)).collect();
    let entered: BTreeSet<&str> = names.values().map(FileKey::container).collect();
    let mut naming = session.naming();
    for name in emptied.difference(&entered) {
        session.staged.lock().remove_container(name);
    }
    *naming = None;
}

/// Stages every reference into a file that gets another name. Returns how many there are, and in how many leaves.
pub(super) async fn stage_names(session: &WriteSession, names: &FileNames) -> Result<(u64, u64)> {
    let (mut refs, mut leaves) = (0, 0);
    if names.is_empty() {
        return Ok((refs, leaves));
    }
    let base = session.base();
    // What another call stages for a key meanwhile would be written over.
    let watch = session.staged.lock().watch(vec![KeyOrPrefix::Prefix(Prefix::all())]);
    let definitions = session.staged.lock().definitions();
    let mut walk = Walk::<Entry, _>::shared(base.nodes(), base.record().manifest);
    while let Some(visit) = walk.next().await {
        let node = visit.node?;
        let Node::Leaf(leaf) = &*node else { continue };
        let before = refs;
        // Neighbours mostly share their file.
        let mut last: Option<(&FileKey, Option<&FileKey>)> = None;
        for (key, entry) in &leaf.entries {
            let Entry::Virtual { file, offset, length } = entry else { continue };
            let name = match last {
                Some((known, name)) if known == file => name,
                _ => names.get(file),
            };
            last = Some((file, name));
            if let Some(name) = name {
                let entry = Entry::Virtual { file: name.clone(), offset: *offset, length: *length };
                if !session.staged.put_alone(&watch, key.clone(), Some(entry)).await? {
                    return Err(busy());
                }
                session.base().repository().advance(1, *length);
                refs += 1;
            }
        }
        leaves += u64::from(refs > before);
    }
    // A container without files could get another definition, and the names that were just staged another meaning.
    if session.staged.lock().definitions() != definitions {
        return Err(busy());
    }
    Ok((refs, leaves))
}
