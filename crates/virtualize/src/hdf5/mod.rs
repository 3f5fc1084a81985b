//! NetCDF4 and other HDF5 files.
//!
//! The crate `hdf5-reader` decodes the structures of a file; here they become variables: which dimensions they have, which attributes
//! users see, and where their chunks lie. Data is read only of variables that are copied.

mod attributes;
mod chunks;
mod dataset;
mod dimensions;
mod filters;
mod header;

use std::collections::BTreeSet;
use std::sync::Arc;

use firnline::{Error, ErrorKind, Result};
use hdf5_reader::error::Error as HdfError;
use hdf5_reader::group::Group;
use hdf5_reader::storage::DynStorage;
use hdf5_reader::{Dataset, Hdf5File, OpenOptions};

use crate::model::{Parsed, ParsedGroup};
use crate::parse::{MOST_COPIED, Wanted};
use crate::source::FileBytes;
use dimensions::Dimensions;

/// How many groups may lie within each other, and how many objects a file may have.
const DEPTH: usize = 64;
const OBJECTS: usize = 1 << 20;

/// Parses an HDF5 file.
pub(crate) fn parse(bytes: &FileBytes, wanted: &Wanted) -> Result<Parsed> {
    let storage: DynStorage = Arc::clone(bytes.storage());
    let most = usize::try_from(MOST_COPIED).unwrap_or(usize::MAX);
    let options = OpenOptions { max_read_bytes: most, max_chunk_bytes: most, chunk_cache_bytes: 1 << 20, ..OpenOptions::default() };
    let file = Hdf5File::from_storage_with_options(storage, options).map_err(|e| failed(&e))?;
    let root = file.root_group().map_err(|e| failed(&e))?;
    let mut walk = Walk { wanted, datasets: Vec::new(), groups: Vec::new(), seen: BTreeSet::new(), objects: 0 };
    walk.visit(&root, "", 0)?;
    let dimensions = Dimensions::find(&root, &walk.datasets)?;
    let mut parsed = Parsed::default();
    let mut is_there = false;
    for (path, group) in &walk.groups {
        let Some(below) = below(path, &wanted.group) else { continue };
        is_there = true;
        let attributes = group.attributes().map_err(|e| failed(&e).context(shown(path)))?;
        let attributes = attributes::of_group(&attributes, below, &mut parsed.dropped);
        parsed.groups.push(ParsedGroup { path: below.to_owned(), attributes });
    }
    if !is_there {
        return Err(Error::not_found(format!("has no group {}", wanted.group)));
    }
    for (n, (path, dataset)) in walk.datasets.iter().enumerate() {
        let Some(name) = below(path, &wanted.group).filter(|_| !dimensions.is_only_dimension(n)) else { continue };
        let context = dataset::Context { bytes, file: &file, wanted, name };
        let variable = context.variable(dataset, dimensions.of(n), &mut parsed.dropped);
        parsed.variables.push(variable.map_err(|e| e.context(path))?);
    }
    Ok(parsed)
}

/// The path within `group` of something that lies in it.
fn below<'p>(path: &'p str, group: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(group)?;
    if group.is_empty() || rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

struct Walk<'w> {
    wanted: &'w Wanted,
    /// All datasets of the file with their paths: those outside of the wanted group may be dimensions of those inside.
    datasets: Vec<(String, Dataset)>,
    groups: Vec<(String, Group)>,
    /// The groups above and before, by address: links may lead back to them.
    seen: BTreeSet<u64>,
    objects: usize,
}

impl Walk<'_> {
    fn visit(&mut self, group: &Group, path: &str, depth: usize) -> Result<()> {
        if !self.seen.insert(group.address()) {
            return Ok(());
        }
        if depth > DEPTH {
            return Err(Error::unsupported(format!("{path}: groups lie more than {DEPTH} deep in each other")));
        }
        let (mut groups, mut datasets) = group.member_names().map_err(|e| failed(&e).context(shown(path)))?;
        groups.sort_unstable();
        datasets.sort_unstable();
        self.objects += groups.len() + datasets.len();
        if self.objects > OBJECTS {
            return Err(Error::unsupported(format!("has more than {OBJECTS} variables and groups")));
        }
        self.groups.push((path.to_owned(), group.clone()));
        let member = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let is_dropped = |path: &str| below(path, &self.wanted.group).is_some_and(|name| self.wanted.is_dropped(name));
        for name in datasets {
            let path = member(&name);
            if !is_dropped(&path) {
                let dataset = group.dataset(&name).map_err(|e| failed(&e).context(&path))?;
                self.datasets.push((path, dataset));
            }
        }
        let groups: Vec<_> = groups.into_iter().map(|name| (member(&name), name)).filter(|(path, _)| !is_dropped(path)).collect();
        for (path, name) in groups {
            let child = group.group(&name).map_err(|e| failed(&e).context(&path))?;
            self.visit(&child, &path, depth + 1)?;
        }
        Ok(())
    }
}

/// The error for what `hdf5-reader` says: an encoding that it does not know is `Unsupported`, everything else `Corrupt`.
fn failed(error: &HdfError) -> Error {
    let mut cause = error;
    while let HdfError::Context { source, .. } = cause {
        cause = source;
    }
    let text = cause.to_string();
    let kind = match cause {
        HdfError::UnsupportedEncoding(_) | HdfError::UnsupportedFilter(_) | HdfError::ResourceLimit(_) => ErrorKind::Unsupported,
        _ if text.starts_with("unsupported") => ErrorKind::Unsupported,
        _ => ErrorKind::Corrupt,
    };
    Error::new(kind, text)
}
