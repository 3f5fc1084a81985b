//! What a reader allows: nothing by default.
//!
//! The writer of a snapshot decides which files it points at, and the reader decides which of them are read: by naming the
//! places from which bytes may come. A place is judged where it really is: for `file:` after every symbolic link has been
//! followed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::container::parse_template;
use super::url::{self, UrlScheme};
use crate::error::{Error, Result};
use crate::percent;

/// A place that a reader allows: everything at or below a URL, or for `file:` a directory.
///
/// Compared by whole segments: `file:///data` allows `file:///data/a.nc`, not `file:///database`. A `file:` entry is
/// percent-decoded: `file:///my%20data` names `/my data`, and also a directory that is really called `my%20data`.
///
/// After a final `=` stand words joined by `+`:
///
/// - `anonymous`: requests carry no credentials. This is the default.
/// - `env`: requests carry the credentials that the environment names.
/// - `private`: the place may lie at an address that is not public: of this machine, of a local network.
/// - `at:URL`: the entry is about this server only.
/// - `unpinned`: bytes of files of which nothing is recorded that would show a change ([`Validator::is_pinned`]) are given
///   out. Without it reading them is `Unsupported`, except for local files whose change time shows that they were not touched
///   since they were referred to. This is the only word that `file:` entries take.
///
/// Where several entries allow a URL, the longest one decides about credentials and addresses; an entry with no word but
/// `unpinned` decides neither unless it is the only one. `unpinned` holds wherever one entry says it.
///
/// Without `at:`, `env` and `private` are about the vendor's own server, or the one that the reader's environment names. A
/// server that a snapshot names in its container (option `endpoint`) is asked without credentials, and only at a public
/// address, unless an entry names it too: `s3://bucket/sets/=env+at:https://s3.example.org`.
///
/// [`Validator::is_pinned`]: crate::Validator::is_pinned
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the entry")]
pub struct Allow {
    /// Without its final `/`.
    prefix: String,
    scheme: UrlScheme,
    /// Whether requests carry credentials.
    credentials: bool,
    /// Whether requests carry no credentials because the entry says so, not only because it says nothing.
    anonymous: bool,
    /// Whether addresses that are not public are meant.
    private: bool,
    /// The server that the entry is about. `None`: any server, but `env` and `private` have an effect only where the snapshot names none.
    at: Option<String>,
    /// Whether files that are not pinned are read.
    unpinned: bool,
}

/// The words that may follow the URL.
const WORDS: [&str; 4] = ["anonymous", "env", "private", UNPINNED];
/// The one of them that `file:` entries take.
const UNPINNED: &str = "unpinned";
const AT: &str = "at:";

/// A server in the form that is compared: scheme and host in lower case, the path as it is written.
fn server(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url.get(host..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| host + at);
    let (server, path) = url.split_at(path);
    server.to_ascii_lowercase() + path
}

/// Parts the URL from the words behind it. A `=` may be part of a path (`year=2025`), but does not begin a segment.
fn split_words(text: &str) -> Result<(&str, Vec<&str>)> {
    let Some((url, words)) = text.rsplit_once('=') else { return Ok((text, Vec::new())) };
    let is_path = text.starts_with("file:");
    let words: Vec<_> = words.split('+').collect();
    if words.iter().all(|word| WORDS.contains(word) || word.starts_with(AT)) {
        return match words.iter().find(|word| is_path && **word != UNPINNED) {
            Some(_) => Err(Error::invalid(format!(
                "allowed place {} is a directory, which takes no word but {UNPINNED}; write a = in its name as %3D",
                url::shown(text)
            ))),
            None => Ok((url, words)),
        };
    }
    if is_path {
        return Ok((text, Vec::new()));
    }
    if url.ends_with('/') {
        // What stands there may be a secret, so no message repeats it.
        return Err(Error::invalid(format!(
            "allowed place {} is followed by something else than {} and {AT}URL, joined by +",
            url::shown(url),
            WORDS.join(", ")
        )));
    }
    Ok((text, Vec::new()))
}

impl FromStr for Allow {
    type Err = Error;

    /// Reads a URL prefix; one that could not begin a valid URL is `Invalid`. For `file:` the directory need not exist.
    fn from_str(text: &str) -> Result<Self> {
        let (text, words) = split_words(text)?;
        let prefix = text.strip_suffix('/').unwrap_or(text);
        if text.starts_with('/') || text.is_empty() {
            return Err(Error::invalid(format!("allowed place {text:?} is not a url; write file://{prefix}/")));
        }
        // A prefix is right if a file below it could be named; `file:///` is the root directory.
        let scheme = url::parse(&format!("{prefix}/x")).map_err(|e| e.context(format!("allowed place {}", url::shown(text))))?.scheme;
        if scheme != UrlScheme::File && prefix.contains('?') {
            return Err(Error::invalid(format!("allowed place {} has a query; end it before the ?", url::shown(text))));
        }
        let (credentials, anonymous) = (words.contains(&"env"), words.contains(&"anonymous"));
        let private = words.contains(&"private");
        if credentials && anonymous {
            return Err(Error::invalid(format!("allowed place {} is given both anonymous and env; choose one", url::shown(text))));
        }
        let at = words.iter().find_map(|word| word.strip_prefix(AT)).map(server);
        if at.is_some() && matches!(scheme, UrlScheme::Http | UrlScheme::Https) {
            return Err(Error::invalid(format!("allowed place {} names its server already; leave out at:", url::shown(text))));
        }
        Ok(Self { prefix: prefix.to_owned(), scheme, credentials, anonymous, private, at, unpinned: words.contains(&UNPINNED) })
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.anonymous, "anonymous"), (self.credentials, "env"), (self.private, "private"), (self.unpinned, UNPINNED)]
            .into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, word)| word.to_owned());
        let words: Vec<_> = words.chain(self.at.as_ref().map(|at| format!("{AT}{at}"))).collect();
        let equals = if words.is_empty() { "" } else { "=" };
        write!(f, "{}/{equals}{}", self.prefix, words.join("+"))
    }
}

impl Allow {
    /// The directories that a `file:` entry names: percent-decoded, and as it is written where that is another one.
    fn roots(&self) -> impl Iterator<Item = PathBuf> {
        let path = self.prefix.strip_prefix("file://");
        path.map(|path| if path.is_empty() { "/" } else { path }).into_iter().flat_map(url::paths)
    }

    /// Whether `unpinned` is its only word.
    #[cfg(feature = "remote")]
    fn only_unpinned(&self) -> bool {
        self.unpinned && !self.anonymous && !self.credentials && !self.private && self.at.is_none()
    }

    fn permits(&self, url: &str) -> bool {
        url.strip_prefix(self.prefix.as_str()).is_some_and(|rest| match rest.bytes().next() {
            None | Some(b'/') => true,
            Some(b'?') => matches!(self.scheme, UrlScheme::Http | UrlScheme::Https),
            Some(_) => false,
        })
    }
}

/// Where a reader looks for the files of a container, in all versions, instead of where the snapshots say.
///
/// The copy must have the recorded size, and the digest where one is locked; dates and `ETags` of another place say
/// nothing and are not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebind {
    /// Replaces the container's template. It has as many placeholders as the container's template has after its defaults are filled in.
    pub template: String,
    /// Whether to take bytes of files without a locked digest, which nothing proves to be the committed ones. `false`
    /// makes reading them `Unsupported`.
    pub accept_unverified: bool,
}

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
