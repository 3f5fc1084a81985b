//! What callers choose, and what they are told.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use firnline::Error;

use crate::parse::{Copied, Wanted};

/// The version of Zarr in which arrays are described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZarrFormat {
    /// `zarr.json`.
    #[default]
    V3,
    /// `.zarray`, `.zattrs` and `.zgroup`, which older libraries read.
    V2,
}

impl FromStr for ZarrFormat {
    type Err = Error;

    /// Reads `2` or `3`; everything else is `Invalid`.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "3" => Ok(Self::V3),
            "2" => Ok(Self::V2),
            _ => Err(Error::invalid(format!("{text:?} is no version of Zarr; 2 and 3 are"))),
        }
    }
}

impl fmt::Display for ZarrFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::V3 { "3" } else { "2" })
    }
}

/// How files are made into arrays. The default: one file, all of its variables, at the root of the repository, in version 3.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VirtualizeOptions {
    /// Where the group of the file is put; empty for the root of the repository. Groups above it are made where there are none.
    pub prefix: String,
    /// The dimension along which files are joined. `None` allows one file only.
    pub concat: Option<String>,
    /// Add the files to arrays that are stored, along [`concat`](Self::concat). They keep their version of Zarr, chunks and attributes.
    pub append: bool,
    /// The version of Zarr of new arrays. Without effect where [`append`](Self::append) is set.
    pub zarr_format: ZarrFormat,
    /// Variables of at most so many bytes in the first file are copied into the repository rather than referred to. Default: 4,096; at 0
    /// only coordinates, single values and strings of any length are. Of a variable without rows the length of a row, or of a chunk,
    /// counts. What is copied needs no access to the file to be read, but is
    /// read from every file when it is added.
    pub inline_limit: u64,
    /// The group of the file that is meant; empty for the root. Its subgroups become groups.
    pub group: String,
    /// Variables and groups that are left out, by name or by path below [`group`](Self::group).
    pub drop: BTreeSet<String>,
    /// The length along [`concat`](Self::concat) of the chunks into which variables are cut that lie in one piece in each file. `None`: the
    /// length of the first file, so that all files must be equally long. Each file must have a multiple of it.
    pub rows: Option<u64>,
}

impl Default for VirtualizeOptions {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            concat: None,
            append: false,
            zarr_format: ZarrFormat::V3,
            inline_limit: 4096,
            group: String::new(),
            drop: BTreeSet::new(),
            rows: None,
        }
    }
}

impl VirtualizeOptions {
    /// Puts the arrays below this prefix; slashes at its ends do not count.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.trim_matches('/').clone_into(&mut self.prefix);
        self
    }

    /// Joins files along this dimension.
    #[must_use]
    pub fn concat(mut self, dimension: impl Into<String>) -> Self {
        self.concat = Some(dimension.into());
        self
    }

    /// Adds to what is stored.
    #[must_use]
    pub const fn append(mut self) -> Self {
        self.append = true;
        self
    }

    /// Describes new arrays in this version of Zarr.
    #[must_use]
    pub const fn zarr_format(mut self, format: ZarrFormat) -> Self {
        self.zarr_format = format;
        self
    }

    /// Takes this group of the files; slashes at its ends do not count.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        group.trim_matches('/').clone_into(&mut self.group);
        self
    }

    /// Leaves a variable or group out.
    #[must_use]
    pub fn drop(mut self, name: impl Into<String>) -> Self {
        self.drop.insert(name.into());
        self
    }

    pub(crate) fn wanted(&self) -> Wanted {
        Wanted { group: self.group.clone(), drop: self.drop.clone(), copied: Copied::Smaller(self.inline_limit) }
    }
}

/// What all parts of one call go by.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) format: ZarrFormat,
    pub(crate) concat: Option<String>,
    pub(crate) rows: Option<u64>,
}

/// What was staged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VirtualizeSummary {
    /// Files that were parsed.
    pub files: u64,
    /// Arrays.
    pub arrays: u64,
    /// Those of them whose values were copied.
    pub copied: u64,
    /// References that were staged.
    pub references: u64,
    /// The sum of their lengths.
    pub bytes: u64,
    /// Values that were staged: chunks of copied arrays, and metadata.
    pub values: u64,
    /// The length of the dimension of concatenation afterwards; `None` without one.
    pub rows: Option<u64>,
    /// Reads of files that were needed; of remote files each is a request.
    pub reads: u64,
    /// Attributes, as `path@name`, that a later file has with another value; those of the first file, or of the store, are kept.
    pub other_attributes: BTreeSet<String>,
    /// Attributes, as `path@name`, that are left out because JSON cannot hold them (references, records, lists of lists, numbers that
    /// are not finite), each `_FillValue` that is no value of its variable's type, and in version 3 that of strings, with which xarray
    /// would not open the group.
    pub dropped_attributes: BTreeSet<String>,
    /// Links, as `path, what it is`, that are not followed: to other files, with the path of the group in which they lie, to a group
    /// above, and to where no group or variable is. What lies behind them is not in the arrays.
    pub links: BTreeSet<String>,
}
