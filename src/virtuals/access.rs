//! What a reader allows: nothing by default.
//!
//! The writer of a snapshot decides which files it points at, and the reader decides which of them are read: by naming the
//! places from which bytes may come. A place is judged where it really is: for `file:` after every symbolic link has been
//! followed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::allow::{Allow, AllowedSet, check_set_name};
use super::rebind::Rebind;
use super::url::{self, UrlScheme};
use crate::error::{Error, Result};
use crate::percent;
use crate::storage::CredentialSet;

/// What a reader allows of external files, and how it asks for them. The default allows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub(super) allowed: Vec<Allow>,
    rebinds: BTreeMap<String, Rebind>,
    pub(super) sets: BTreeMap<String, CredentialSet>,
    patience: Duration,
    gap: u64,
    longest: u64,
    per_host: usize,
}

/// Ranges of one file or chunk that are at most this far apart are read by one request, in bytes.
const GAP: u64 = 64 << 10;
/// No request is longer than this, in bytes.
const LONGEST: u64 = 16 << 20;
/// How many requests are under way at one server.
const PER_HOST: usize = 32;

/// Which ranges of one file or chunk are read by one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RangeJoining {
    /// Ranges that are at most so many bytes apart are read together,
    pub(crate) gap: u64,
    /// if they are no longer than this together.
    pub(crate) longest: u64,
}

impl Default for RangeJoining {
    fn default() -> Self {
        Self { gap: GAP, longest: LONGEST }
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::new([])
    }
}

impl Access {
    /// Allows these places and no others.
    pub fn new(allowed: impl IntoIterator<Item = Allow>) -> Self {
        Self {
            allowed: allowed.into_iter().collect(),
            rebinds: BTreeMap::new(),
            sets: BTreeMap::new(),
            patience: Duration::from_mins(1),
            gap: GAP,
            longest: LONGEST,
            per_host: PER_HOST,
        }
    }

    /// Sets the deadline for the beginning of an answer of a server, with all redirects and repetitions of the request. Default: a minute.
    ///
    /// A server that keeps silent for a third of it, but at least 10 seconds, is asked again, as is one whose answer is cut off or says
    /// that
    /// the server is at fault: at most three times, with growing pauses. One that says that it is busy (429, 503) is asked again after the
    /// pause that it names (`Retry-After`), until the deadline would pass; then the error is `Unavailable`. Waiting for other requests to
    /// the server ([`per_host`](Self::per_host)) does not count. A body may take twice as long and a second more for each 16 KiB, and is
    /// not
    /// cut at the deadline. Answers about the file itself are final: absent (404), changed (412), too short (416). A read may need several
    /// requests, such as one for the facts about the file.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Reads ranges of one file by one request where at most so many bytes lie between them, in calls for many values. Default: 64 KiB.
    /// More
    /// saves requests to servers that are far away, and transfers bytes that are not needed; 0 joins only what touches.
    #[must_use]
    pub fn gap(mut self, bytes: u64) -> Self {
        self.gap = bytes;
        self
    }

    /// Asks for at most so many bytes by one request. Default: 16 MiB, at least 1. Ranges are joined up to this length; longer ones are
    /// read
    /// from servers in parts, 16 at once, which all carry the condition of the file. A local file is read at once.
    #[must_use]
    pub fn longest(mut self, bytes: u64) -> Self {
        self.longest = bytes.max(1);
        self
    }

    /// Sends at most so many requests at once to one server, or to one bucket of a vendor. Default: 32, at least 1. All reads of one opened
    /// repository count together; a request counts until its answer has been read.
    #[must_use]
    pub fn per_host(mut self, requests: usize) -> Self {
        self.per_host = requests.max(1);
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

    /// Defines credentials for entries with the word `as:NAME`; a second set of one name replaces the first. `Invalid` if the name is not
    /// of ASCII letters, digits, `.`, `_` and `-`, or is `anonymous`, `env`, `environment` or `repository`, which are there already; also
    /// if
    /// the endpoint of the set holds a password or another secret.
    ///
    /// No place gets credentials that no entry names for it. They are sent over TLS, or without it to this machine only (those of the
    /// environment and of the repository also to an endpoint for which `AWS_ALLOW_HTTP` or its like permits it), and never to
    /// another server than that of the place: on a redirect the entry of the new place decides.
    pub fn credentials(&mut self, name: impl Into<String>, set: CredentialSet) -> Result<()> {
        let name = name.into();
        check_set_name(&name)?;
        if let Some(secret) = set.settings().endpoint.as_deref().and_then(url::secret_in_value) {
            return Err(Error::invalid(format!("credentials {name}: the endpoint holds {secret}; leave it out")));
        }
        #[cfg(feature = "remote")]
        if set.takes().is_some_and(|kind| kind != "http") {
            set.settings().check().map_err(|why| Error::invalid(format!("credentials {name}: the {why}")))?;
        }
        self.sets.insert(name, set);
        Ok(())
    }

    /// The credentials that are defined under a name, if there are any.
    pub fn credential_set(&self, name: &str) -> Option<&CredentialSet> {
        self.sets.get(name)
    }

    /// Refuses, as `Invalid`, entries that name credentials which are not defined. Reading from such a place fails in the same way.
    pub fn check(&self) -> Result<()> {
        self.allowed.iter().try_for_each(|allow| match &allow.credentials {
            Some(AllowedSet::Named(name)) if !self.sets.contains_key(name) => {
                Err(self.undefined(&format!("allowed place {allow} names"), name))
            }
            _ => Ok(()),
        })
    }

    pub(super) fn undefined(&self, where_from: &str, name: &str) -> Error {
        let names: Vec<_> = self.sets.keys().map(String::as_str).collect();
        let known = if names.is_empty() { "none are defined".to_owned() } else { format!("defined are {}", names.join(", ")) };
        Error::invalid(format!("{where_from} the credentials {name}, which are not defined; {known}"))
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

    /// The deadline of a request, the longest range of one, and how many may be under way at one server.
    #[cfg(feature = "remote")]
    pub(crate) const fn limits(&self) -> (Duration, u64, usize) {
        (self.patience, self.longest, self.per_host)
    }

    /// Which ranges of one file are read by one request.
    pub(crate) const fn joining(&self) -> RangeJoining {
        RangeJoining { gap: self.gap, longest: self.longest }
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
