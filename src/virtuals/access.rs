//! What a reader allows: nothing, unless said.
//!
//! A snapshot may point anywhere, and whoever wrote it is not whoever reads it. So a reader names the places from which
//! bytes may come, and a place is judged where it really is: for `file:` after every symbolic link has been followed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::container::parse_template;
use super::url::{self, Scheme};
use crate::error::{Error, Result};

/// A place that a reader allows: everything at or below a URL, or for `file:` a directory.
///
/// Compared by whole segments: `file:///data` allows `file:///data/a.nc`, not `file:///database`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// Without its final `/`.
    prefix: String,
    scheme: Scheme,
}

impl FromStr for Allow {
    type Err = Error;

    /// Reads a URL prefix; one that could not begin a valid URL is `Invalid`. For `file:` the directory need not exist.
    fn from_str(text: &str) -> Result<Self> {
        let prefix = text.strip_suffix('/').unwrap_or(text);
        if text.starts_with('/') || text.is_empty() {
            return Err(Error::invalid(format!("allowed place {text:?} is not a url; write file://{prefix}/")));
        }
        // A prefix is right if a file below it could be named; `file:///` is the root directory.
        let scheme = url::parse(&format!("{prefix}/x")).map_err(|e| e.context(format!("allowed place {}", url::shown(text))))?.scheme;
        if scheme != Scheme::File && prefix.contains('?') {
            return Err(Error::invalid(format!("allowed place {} has a query; end it before the ?", url::shown(text))));
        }
        Ok(Self { prefix: prefix.to_owned(), scheme })
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.prefix)
    }
}

impl Allow {
    fn root(&self) -> Option<&Path> {
        let path = self.prefix.strip_prefix("file://")?;
        Some(Path::new(if path.is_empty() { "/" } else { path }))
    }

    fn permits(&self, url: &str) -> bool {
        url.strip_prefix(self.prefix.as_str()).is_some_and(|rest| match rest.bytes().next() {
            None | Some(b'/') => true,
            Some(b'?') => matches!(self.scheme, Scheme::Http | Scheme::Https),
            Some(_) => false,
        })
    }
}

/// Where a reader finds a container instead of where the snapshot says, for all versions.
///
/// The copy must have the recorded size, and the digest where one is locked; dates and `ETags` of another place say
/// nothing and are not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebind {
    /// Takes the place of the container's template, with as many placeholders as that leaves after its defaults.
    pub template: String,
    /// Whether to take bytes of files without a locked digest, which nothing proves to be the committed ones. `false`
    /// makes reading them `Unsupported`.
    pub accept_unverified: bool,
}

/// Everything a reader says about external files. The default allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    allowed: Vec<Allow>,
    rebinds: BTreeMap<String, Rebind>,
}

impl Access {
    /// Allows these places and no others.
    pub fn new(allowed: impl IntoIterator<Item = Allow>) -> Self {
        Self { allowed: allowed.into_iter().collect(), rebinds: BTreeMap::new() }
    }

    /// Reads the values of `--allow`.
    pub fn parse<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        prefixes.into_iter().map(Allow::from_str).collect::<Result<Vec<_>>>().map(Self::new)
    }

    /// Puts the container of this name elsewhere. The new place must be allowed like any other; a template that no
    /// container could have is `Invalid`.
    pub fn rebind(&mut self, container: impl Into<String>, to: Rebind) -> Result<()> {
        let container = container.into();
        parse_template(&to.template, &BTreeMap::new()).map_err(|e| e.context(format!("container {container:?}")))?;
        self.rebinds.insert(container, to);
        Ok(())
    }

    /// Where the reader put the container of this name, if elsewhere.
    pub(crate) fn rebound(&self, container: &str) -> Option<&Rebind> {
        self.rebinds.get(container)
    }

    /// Whether a URL that is not a `file:` lies in an allowed place.
    pub(crate) fn permits(&self, url: &str) -> bool {
        self.allowed.iter().any(|allow| allow.scheme != Scheme::File && allow.permits(url))
    }

    /// Follows every symbolic link of `path` and says where it really lies, if that is allowed. Blocks on the disk.
    pub(crate) fn reach(&self, path: &Path) -> Result<PathBuf, Unreached> {
        let named: Vec<&Path> = self.allowed.iter().filter_map(Allow::root).collect();
        if named.is_empty() {
            return Err(Unreached::Denied(None));
        }
        let roots: Vec<PathBuf> = named.iter().filter_map(|root| root.canonicalize().ok()).collect();
        let inside = |real: &Path| roots.iter().any(|root| real.starts_with(root));
        let error = match path.canonicalize() {
            Ok(real) if inside(&real) => return Ok(real),
            Ok(real) => return Err(Unreached::Denied(Some(real))),
            Err(error) => error,
        };
        // What cannot be followed is reported only where the reader may look at all: elsewhere even absence is denied.
        let nearest = path.ancestors().skip(1).find_map(|dir| dir.canonicalize().ok());
        let below_lost_root = named.iter().any(|root| path.starts_with(root) && root.canonicalize().is_err());
        if below_lost_root || nearest.is_some_and(|dir| inside(&dir)) { Err(Unreached::Lost(error)) } else { Err(Unreached::Denied(None)) }
    }
}

/// Why a path cannot be read.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// It lies outside every allowed directory; with where it really lies, if that could be found.
    Denied(Option<PathBuf>),
    /// It may be looked for, but following it failed.
    Lost(std::io::Error),
}
