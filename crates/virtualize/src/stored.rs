//! What is stored below the prefix before files are added.

use std::collections::{BTreeMap, BTreeSet};

use firnline::{Child, Entry, Error, Key, Result, WriteSession};

use crate::array::Array;
use crate::document::{self, ArrayDocument};
use crate::model::{Body, Variable, count, is_coordinate};
use crate::options::Settings;
use crate::parse::{Copied, MOST_COPIED};
use crate::{ZarrFormat, below, join};

/// The arrays that can be appended to.
#[derive(Debug, Default)]
pub(crate) struct StoredHierarchy {
    /// The version of Zarr; `None` where a new hierarchy begins.
    pub(crate) format: Option<ZarrFormat>,
    pub(crate) is_appended: bool,
    /// By path: what is stored, and whether it may have been copied: the values are in the repository, in the form of copied ones. So are
    /// those
    /// of a plain file that were copied later (`deps vendor`), and an array without elements says nothing.
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
        let may_be_copied = document.is_as_copied(axis, is_coordinate(path, &document.dims))
            && match session.entry(&first).await? {
                Some(entry) => !matches!(entry, Entry::Virtual { .. }),
                // A copied array has all of its chunks.
                None => count(&document.shape) == Some(0),
            };
        self.arrays.insert(path.to_owned(), (document, may_be_copied));
        Ok(true)
    }

    /// What is copied of the next file. Of what may have been copied before, the file decides as one that begins an array, by this limit;
    /// without
    /// the dimension of concatenation all is compared that can be.
    pub(crate) fn copied(&self, limit: u64, concat: Option<&str>) -> Copied {
        let limit = |document: &ArrayDocument| if document.dims.iter().any(|dim| Some(&**dim) == concat) { limit } else { MOST_COPIED };
        let all = self.arrays.iter().filter(|(_, (_, may_be_copied))| *may_be_copied);
        Copied::Named { paths: BTreeSet::new(), undecided: all.map(|(path, (document, _))| (path.clone(), limit(document))).collect() }
    }

    /// The paths of what has to be copied after all, because it is not laid out in the file as what is stored; `None` if that is nothing.
    pub(crate) fn copied_after_all(&self, variables: &[Variable], settings: &Settings) -> Result<Option<BTreeSet<String>>> {
        let (mut paths, mut is_any) = (BTreeSet::new(), false);
        for variable in variables {
            let Some((document, true)) = self.arrays.get(&variable.path) else { continue };
            let is_read = matches!(variable.body, Body::Values(_));
            if is_read || !Array::resume(&variable.path, document.clone(), false, variable, settings)?.fits(variable, settings.format) {
                is_any |= !is_read;
                paths.insert(variable.path.clone());
            }
        }
        Ok(is_any.then_some(paths))
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
