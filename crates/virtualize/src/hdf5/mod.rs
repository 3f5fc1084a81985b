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
mod links;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use firnline::{Error, ErrorKind, Result};
use hdf5_reader::error::Error as HdfError;
use hdf5_reader::group::Group;
use hdf5_reader::messages::attribute::AttributeMessage;
use hdf5_reader::storage::DynStorage;
use hdf5_reader::{Dataset, ExternalLinkResolver, Hdf5File, OpenOptions, RawAttribute};

use crate::budget::Budget;
use crate::model::{Parsed, ParsedGroup};
use crate::parse::{MOST_COPIED, Wanted};
use crate::source::FileBytes;
use attributes::AttributeReader;
use dimensions::Dimensions;

/// What netCDF writes before the name of a variable that has the name of a dimension and is not its coordinate.
const RENAMED: &str = "_nc4_non_coord_";

/// How many groups may lie within each other, and how many objects a file may have.
const DEPTH: usize = 64;
const OBJECTS: usize = 1 << 20;

/// So many bytes the header of one object may have, with its attributes.
const LONGEST_HEADER: usize = 8 << 20;

/// What is held of an object besides its path, in bytes.
const NAMED: usize = 128;

/// Parses an HDF5 file.
pub(crate) fn parse(bytes: &FileBytes, wanted: &Wanted) -> Result<Parsed> {
    let storage: DynStorage = Arc::clone(bytes.storage());
    let most = usize::try_from(MOST_COPIED).unwrap_or(usize::MAX);
    let outside = Arc::new(OutsideLinks::default());
    let resolver: Arc<dyn ExternalLinkResolver> = Arc::clone(&outside) as _;
    let options = OpenOptions {
        max_read_bytes: most,
        max_chunk_bytes: most,
        max_object_header_bytes: LONGEST_HEADER,
        chunk_cache_bytes: 1 << 20,
        ..OpenOptions::default()
    };
    let options = options.with_external_link_resolver(resolver);
    let file = Hdf5File::from_storage_with_options(storage, options).map_err(|e| failed(&e))?;
    let root = file.root_group().map_err(|e| failed(&e))?;
    let budget = Budget::of(bytes.len());
    let mut walk = Walk {
        wanted,
        budget: &budget,
        outside: Arc::clone(&outside),
        datasets: Vec::new(),
        stored: HashMap::new(),
        unread: HashSet::new(),
        groups: Vec::new(),
        above: Vec::new(),
        objects: 0,
        left_out: Vec::new(),
    };
    walk.visit(&root, "", false)?;
    let stored = std::mem::take(&mut walk.stored);
    let reader = AttributeReader { root: &root, budget: &budget };
    let dimensions = Dimensions::find(&reader, &walk.datasets, &stored)?;
    let mut parsed = Parsed { left_out: std::mem::take(&mut walk.left_out), ..Parsed::default() };
    let mut is_there = false;
    for (path, group) in &walk.groups {
        let Some(below) = below(path, &wanted.group) else { continue };
        is_there = true;
        let stored = stored.get(&group.address()).map_or(&[][..], Vec::as_slice);
        let attributes = attributes::of_group(&reader, stored, below, &mut parsed.dropped).map_err(|e| e.context(shown(path)))?;
        parsed.groups.push(ParsedGroup { path: below.to_owned(), attributes });
    }
    if !is_there {
        return Err(Error::not_found(format!("has no group {}", wanted.group)));
    }
    let mut names = BTreeSet::new();
    for (n, FoundDataset { path, dataset, is_dropped }) in walk.datasets.iter().enumerate() {
        let Some(name) = below(path, &wanted.group).filter(|_| !is_dropped && !dimensions.is_only_dimension(n)) else { continue };
        if !names.insert(name) {
            return Err(Error::unsupported(format!("{path}: two variables have this name; leave them out")));
        }
        let attributes = stored.get(&dataset.address()).map_or(&[][..], Vec::as_slice);
        let context = dataset::DatasetContext { bytes, file: &file, wanted, name, reader: &reader, attributes };
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

/// A dataset, and the path that users know it by.
struct FoundDataset {
    path: String,
    dataset: Dataset,
    /// It is left out, and yet may be the dimension of others.
    is_dropped: bool,
}

/// Links to other files, which are not followed: to which files they led.
#[derive(Default)]
struct OutsideLinks(Mutex<Vec<String>>);

impl ExternalLinkResolver for OutsideLinks {
    fn resolve_external_link(&self, filename: &str) -> std::result::Result<Option<Hdf5File>, HdfError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(filename.to_owned());
        Ok(None)
    }
}

struct Walk<'w> {
    wanted: &'w Wanted,
    budget: &'w Budget,
    outside: Arc<OutsideLinks>,
    /// All datasets of the file: those outside of the wanted group, and those that are left out, may be dimensions of others.
    datasets: Vec<FoundDataset>,
    /// The attributes of all objects as they are stored, by address: an object may have several names.
    stored: HashMap<u64, Vec<AttributeMessage>>,
    /// The addresses of those whose attributes cannot be read, and were not wanted under the names that they were met by.
    unread: HashSet<u64>,
    groups: Vec<(String, Group)>,
    /// The addresses of the groups above: links may lead back to them.
    above: Vec<u64>,
    objects: usize,
    left_out: Vec<String>,
}

impl Walk<'_> {
    /// Looks at a group and everything below it. Of one that is `dropped` only what can be read is looked at, for its dimensions.
    fn visit(&mut self, group: &Group, path: &str, is_dropped: bool) -> Result<()> {
        if self.above.contains(&group.address()) {
            if !is_dropped {
                self.left_out.push(format!("{path}, a link to a group in which it lies"));
            }
            return Ok(());
        }
        if self.above.len() > DEPTH {
            return Err(Error::unsupported(format!("{path}: groups lie more than {DEPTH} deep in each other")));
        }
        let (mut groups, mut datasets) = match group.member_names() {
            Ok(names) => names,
            Err(_) if is_dropped => return Ok(()),
            Err(e) => return Err(failed(&e).context(shown(path))),
        };
        self.leave_out_links(path, is_dropped);
        if !is_dropped {
            self.leave_out_lost(group, path, &groups, &datasets).map_err(|e| failed(&e).context(shown(path)))?;
        }
        groups.sort_unstable();
        datasets.sort_unstable();
        self.objects += groups.len() + datasets.len();
        if self.objects > OBJECTS {
            return Err(Error::unsupported(format!("has more than {OBJECTS} variables and groups")));
        }
        let is_wanted = !is_dropped && below(path, &self.wanted.group).is_some();
        self.store(group.address(), path, is_wanted, || group.raw_attributes())?;
        if !is_dropped {
            self.groups.push((path.to_owned(), group.clone()));
        }
        // An object is met under each of its names, of which a small file may have very many.
        let names: u64 = groups.iter().chain(&datasets).map(|name| (path.len() + name.len() + NAMED) as u64).sum();
        self.budget.take(names).map_err(|e| e.context(shown(path)))?;
        let member = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let is_dropped = |path: &str| is_dropped || below(path, &self.wanted.group).is_some_and(|name| self.wanted.is_dropped(name));
        let datasets: Vec<_> = datasets.into_iter().map(|name| (member(name.strip_prefix(RENAMED).unwrap_or(&name)), name)).collect();
        let datasets: Vec<_> = datasets.into_iter().map(|(path, name)| (is_dropped(&path), path, name)).collect();
        let groups: Vec<_> =
            groups.into_iter().map(|name| (member(&name), name)).map(|(path, name)| (is_dropped(&path), path, name)).collect();
        for (is_dropped, path, name) in datasets {
            match group.dataset(&name) {
                Ok(dataset) => {
                    self.store(dataset.address(), &path, !is_dropped, || dataset.raw_attributes())?;
                    self.datasets.push(FoundDataset { path, dataset, is_dropped });
                }
                Err(_) if is_dropped => {}
                Err(e) => return Err(failed(&e).context(&path)),
            }
        }
        self.above.push(group.address());
        for (is_dropped, path, name) in groups {
            match group.group(&name) {
                Ok(child) => self.visit(&child, &path, is_dropped)?,
                Err(_) if is_dropped => {}
                Err(e) => return Err(failed(&e).context(&path)),
            }
        }
        self.above.pop();
        Ok(())
    }

    /// Keeps the attributes of an object, when it is first met. The headers of many objects may lead to the same ones. Those that cannot be
    /// read are no error if the object is not wanted under this name; under another one it may be. A dataset outside of the wanted group is
    /// wanted unless it is left out: only its attributes tell whether it is the dimension of others.
    fn store(
        &mut self,
        address: u64,
        path: &str,
        is_wanted: bool,
        read: impl FnOnce() -> std::result::Result<Vec<RawAttribute>, HdfError>,
    ) -> Result<()> {
        if self.stored.contains_key(&address) || (!is_wanted && self.unread.contains(&address)) {
            return Ok(());
        }
        let stored = match read() {
            Ok(stored) => stored,
            Err(_) if !is_wanted => {
                self.unread.insert(address);
                return Ok(());
            }
            Err(e) => return Err(failed(&e).context(shown(path))),
        };
        let stored: Vec<_> = stored.into_iter().map(|attribute| attribute.into_parts().0).collect();
        let bytes = stored.iter().map(|attribute| (attribute.name.len() + attribute.raw_data.len()) as u64).sum();
        self.budget.take(bytes).map_err(|e| e.context(shown(path)))?;
        self.stored.insert(address, stored);
        Ok(())
    }

    /// Notes the links to other files that were met in a group.
    fn leave_out_links(&mut self, path: &str, is_dropped: bool) {
        let files = std::mem::take(&mut *self.outside.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !is_dropped {
            self.left_out.extend(files.iter().map(|file| format!("{}, a link to {file}", shown(path))));
        }
    }
}

impl Walk<'_> {
    /// Notes the soft links of a group that lead to none of its members.
    fn leave_out_lost(&mut self, group: &Group, path: &str, groups: &[String], datasets: &[String]) -> Result<(), HdfError> {
        let found = links::soft_links(group, self.budget)?;
        if found.is_empty() {
            return Ok(());
        }
        let members: BTreeSet<&String> = groups.iter().chain(datasets).collect();
        for (name, target) in found {
            let member = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let is_dropped = below(&member, &self.wanted.group).is_some_and(|name| self.wanted.is_dropped(name));
            if !is_dropped && !members.contains(&name) {
                self.left_out.push(format!("{member}, a link to {target}, where no group or variable is"));
            }
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
