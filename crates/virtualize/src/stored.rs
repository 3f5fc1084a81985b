//! What is stored below the prefix before files are added.

use std::collections::{BTreeMap, BTreeSet};

use firnline::{Child, Entry, Error, Key, Result, WriteSession};

use crate::array::Array;
use crate::document::{self, ArrayDocument};
use crate::model::{count, is_coordinate};
use crate::options::Settings;
use crate::{ZarrFormat, below, join};

/// The arrays that can be appended to.
#[derive(Debug, Default)]
pub(crate) struct StoredHierarchy {
    /// The version of Zarr; `None` where a new hierarchy begins.
    pub(crate) format: Option<ZarrFormat>,
    pub(crate) is_appended: bool,
    /// By path: what is stored, and whether its values are in the repository.
    pub(crate) arrays: BTreeMap<String, (ArrayDocument, bool)>,
    /// Groups that exist.
    pub(crate) groups: BTreeSet<String>,
}

impl StoredHierarchy {
    /// Reads the metadata below `prefix` if it is to be `appended` to; `NotFound` if there is none.
    pub(crate) async fn load(session: &WriteSession, prefix: &str, concat: Option<&str>, is_appended: bool) -> Result<Self> {
        if !is_appended {
            return Ok(Self::default());
        }
        let mut stored = Self { is_appended, ..Self::default() };
        let mut groups = vec![String::new()];
        while let Some(group) = groups.pop() {
            let path = join(prefix, &group);
            for child in session.children(&below(&path)?).await? {
                let Child::Directory(directory) = child else { continue };
                let name = directory.as_str().trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
                let path = join(&group, &name);
                if !stored.array(session, prefix, &path, concat).await? {
                    groups.push(path);
                }
            }
            stored.groups.insert(group);
        }
        if stored.arrays.is_empty() {
            let shown = if prefix.is_empty() { "the root" } else { prefix };
            return Err(Error::not_found(format!("there is no array below {shown} to append to; leave out --append for the first files")));
        }
        Ok(stored)
    }

    /// Reads an array if there is one at `path`.
    async fn array(&mut self, session: &WriteSession, prefix: &str, path: &str, concat: Option<&str>) -> Result<bool> {
        let whole = join(prefix, path);
        let get = async |name: &str| session.get(&Key::new(format!("{whole}/{name}"))?).await;
        let (format, main, attributes) = if let Some(main) = get("zarr.json").await? {
            let object = document::object(&main).map_err(|e| e.context(&whole))?;
            if object.get("node_type").and_then(|kind| kind.as_str()) != Some("array") {
                return Ok(false);
            }
            (ZarrFormat::V3, main, None)
        } else if let Some(main) = get(".zarray").await? {
            (ZarrFormat::V2, main, get(".zattrs").await?)
        } else {
            return Ok(false);
        };
        if *self.format.get_or_insert(format) != format {
            return Err(Error::unsupported(format!("{whole} is of Zarr version {format}, and other arrays are not")));
        }
        let document = ArrayDocument::read(format, &main, attributes.as_deref()).map_err(|e| e.context(&whole))?;
        let first = document.chunk_key(&whole, &vec![0; document.shape.len()])?;
        let axis = concat.and_then(|concat| document.dims.iter().position(|dim| dim == concat));
        // Chunks that were referred to and then copied (`deps vendor`) are as they were in the file.
        let is_copied = document.is_as_copied(axis, is_coordinate(path, &document.dims))
            && match session.entry(&first).await? {
                Some(entry) => !matches!(entry, Entry::Virtual { .. }),
                // A copied array has all of its chunks.
                None => count(&document.shape) == Some(0),
            };
        self.arrays.insert(path.to_owned(), (document, is_copied));
        Ok(true)
    }

    /// The paths of the arrays whose values are in the repository.
    pub(crate) fn copied(&self) -> BTreeSet<String> {
        self.arrays.iter().filter(|(_, (_, is_copied))| *is_copied).map(|(path, _)| path.clone()).collect()
    }

    /// `Invalid` when an array that would have to grow is not in the file.
    pub(crate) fn require_all(&self, arrays: &BTreeMap<String, Array>, settings: &Settings) -> Result<()> {
        let Some(concat) = &settings.concat else { return Ok(()) };
        let missing = self.arrays.iter().find(|(path, (document, _))| document.dims.contains(concat) && !arrays.contains_key(*path));
        match missing {
            Some((path, _)) => Err(Error::invalid(format!("has no variable {path}, which is stored and has the dimension {concat}"))),
            None => Ok(()),
        }
    }
}
