//! What a reader allows: nothing by default.
//!
//! The writer of a snapshot decides which files it points at, and the reader decides which of them are read: by naming the
//! places from which bytes may come. A place is judged where it really is: for `file:` after every symbolic link has been
//! followed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::allow::Allow;
#[cfg(feature = "remote")]
use super::allow::server;
use super::rebind::Rebind;
use super::url::{self, UrlScheme};
use crate::error::{Error, Result};
use crate::percent;

/// What a reader allows of external files, and how it asks for them. The default allows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    allowed: Vec<Allow>,
    rebinds: BTreeMap<String, Rebind>,
    patience: Duration,
}

impl Default for Access {
    fn default() -> Self {
        Self::new([])
    }
}

impl Access {
    /// Allows these places and no others.
    pub fn new(allowed: impl IntoIterator<Item = Allow>) -> Self {
        Self { allowed: allowed.into_iter().collect(), rebinds: BTreeMap::new(), patience: Duration::from_mins(1) }
    }

    /// Gives up on a server that keeps silent for `patience`. Default: a minute.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Allows these places too. Of two entries for one place, the one that was added last decides.
    pub fn allow(&mut self, places: impl IntoIterator<Item = Allow>) {
        self.allowed.extend(places);
    }

    /// Reads a list of entries separated by white space and commas, as the environment variable `FIRN_ALLOW` holds it.
    ///
    /// Entries are percent-decoded, so that a place with a space, a comma or a line break in its name can be written:
    /// `file:///my%20data/`, `s3://bucket/a%2Cb/`. URLs of web servers are kept, because they are sent as they are written.
    pub fn parse_list(list: &str) -> Result<Vec<Allow>> {
        let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        let decoded = entries.map(|entry| {
            let is_kept = ["file:", "http:", "https:"].iter().any(|scheme| entry.starts_with(scheme));
            let text = if is_kept { entry.into() } else { percent::decoded_text(entry) };
            text.parse().map_err(|e: Error| {
                let hint = "in a list of allowed places, in which a space is written %20 and a comma %2C";
                if entry.contains(':') { e } else { e.context(hint) }
            })
        });
        decoded.collect()
    }

    /// Reads one entry from each text, as the option `--allow` of the command takes it.
    pub fn parse<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        prefixes.into_iter().map(Allow::from_str).collect::<Result<Vec<_>>>().map(Self::new)
    }

    /// Puts the container of this name elsewhere, for every version. The new place must be allowed like any other; a template that
    /// no container could have is `Invalid`. A second place for one name replaces the first.
    pub fn rebind(&mut self, container: impl Into<String>, to: Rebind) -> Result<()> {
        let container = container.into();
        to.check().map_err(|e| e.context(format!("container {container:?}")))?;
        self.rebinds.insert(container, to);
        Ok(())
    }

    /// Where the reader put the container of this name, if elsewhere.
    pub(crate) fn rebound(&self, container: &str) -> Option<&Rebind> {
        self.rebinds.get(container)
    }

    /// Whether a URL that is not a `file:` lies in an allowed place.
    pub(crate) fn permits(&self, url: &str) -> bool {
        self.allowed.iter().any(|allow| allow.scheme != UrlScheme::File && allow.permits(url))
    }

    /// Whether the reader accepts bytes of a file at `url` that is not pinned.
    pub(crate) fn accepts_unpinned(&self, url: &str) -> bool {
        let paths: Vec<_> = url.strip_prefix("file://").into_iter().flat_map(url::paths).collect();
        let is_below = |allow: &Allow| allow.roots().any(|root| paths.iter().any(|path| path.starts_with(&root)));
        self.allowed
            .iter()
            .any(|allow| allow.unpinned && if allow.scheme == UrlScheme::File { is_below(allow) } else { allow.permits(url) })
    }

    /// How long a server may keep silent.
    #[cfg(feature = "remote")]
    pub(crate) const fn waits(&self) -> Duration {
        self.patience
    }

    /// What is granted to requests for a URL, at the server that the snapshot names if it names one; `None` when the URL is not
    /// allowed. The longest entry decides; of two equally long ones, the one that names the server.
    #[cfg(feature = "remote")]
    pub(crate) fn granted(&self, url: &str, endpoint: Option<&str>) -> Option<crate::storage::outside::Grant> {
        let endpoint = endpoint.map(server);
        let fits = |allow: &&Allow| allow.scheme != UrlScheme::File && allow.permits(url) && (allow.at.is_none() || allow.at == endpoint);
        let entry =
            self.allowed.iter().filter(fits).max_by_key(|allow| (!allow.only_unpinned(), allow.prefix.len(), allow.at.is_some()))?;
        // A server that the snapshot chose is given nothing that was granted to another one.
        let is_meant = endpoint.is_none() || entry.at.is_some();
        let (credentials, private) = (entry.credentials && is_meant, entry.private && is_meant);
        Some(crate::storage::outside::Grant { credentials, private })
    }

    /// Follows every symbolic link of `path` and says where it really lies, if that is allowed. Blocks on the disk.
    pub(crate) fn reach(&self, path: &Path) -> Result<PathBuf, Unreached> {
        let named: Vec<PathBuf> = self.allowed.iter().flat_map(Allow::roots).collect();
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
