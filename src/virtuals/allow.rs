//! One place that a reader allows, with the words that say how it is asked.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::url::{self, UrlScheme};
use crate::error::{Error, Result};
use crate::text::printable_line;

/// A place that a reader allows: everything at or below a URL, or for `file:` a directory.
///
/// Compared by whole segments: `file:///data` allows `file:///data/a.nc`, not `file:///database`. A `file:` entry is
/// percent-decoded: `file:///my%20data` names `/my data`, and also a directory that is really called `my%20data`.
///
/// After a final `=` stand words joined by `+`:
///
/// - `anonymous`: requests carry no credentials. This is the default.
/// - `env`: requests carry the credentials that the environment names.
/// - `as:NAME`: requests carry the credentials that the reader defined under this name ([`Access::credentials`]), or those of the
///   repository itself with `as:repository`.
/// - `private`: the place may lie at an address that is not public: of this machine, of a local network.
/// - `at:URL`: the entry is about this server only.
/// - `unpinned`: bytes of files of which nothing is recorded that would show a change ([`Validator::is_pinned`]) are given
///   out. Without it reading them is `Unsupported`, except for local files whose change time shows that they were not touched
///   since they were referred to. This is the only word that `file:` entries take.
///
/// Where several entries allow a URL, the longest one decides about credentials and addresses; an entry with no word but
/// `unpinned` decides neither unless it is the only one. `unpinned` holds wherever one entry says it.
///
/// Without `at:`, `env`, `as:NAME` and `private` are about the vendor's own server, the one that the reader's environment names, or the
/// one that the credentials of this name are for. Another server that a snapshot names in its container (option `endpoint`) is asked
/// without credentials, and only at a public address, unless an entry names it too: `s3://bucket/sets/=env+at:https://s3.example.org`.
///
/// [`Validator::is_pinned`]: crate::Validator::is_pinned
/// [`Access::credentials`]: crate::Access::credentials
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// Without its final `/`.
    pub(super) prefix: String,
    pub(super) scheme: UrlScheme,
    /// Whose credentials requests carry. `None`: the entry says nothing, and they carry none.
    pub(super) credentials: Option<AllowedSet>,
    /// Whether addresses that are not public are meant.
    pub(super) private: bool,
    /// The server that the entry is about. `None`: any server, but `env` and `private` have an effect only where the snapshot names none.
    pub(super) at: Option<String>,
    /// Whether files that are not pinned are read.
    pub(super) unpinned: bool,
}

/// The credentials that an entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AllowedSet {
    Anonymous,
    Environment,
    Repository,
    Named(String),
}

impl AllowedSet {
    /// The set that a word of an entry names, if the word is about credentials.
    fn of_word(word: &str) -> Option<Self> {
        match (word, word.strip_prefix(AS)) {
            ("anonymous", _) | (_, Some("anonymous")) => Some(Self::Anonymous),
            ("env", _) | (_, Some("env" | "environment")) => Some(Self::Environment),
            (_, Some("repository")) => Some(Self::Repository),
            (_, Some(name)) => Some(Self::Named(name.to_owned())),
            _ => None,
        }
    }

    fn word(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Environment => "env".to_owned(),
            Self::Repository => format!("{AS}repository"),
            Self::Named(name) => format!("{AS}{name}"),
        }
    }
}

/// Refuses what cannot name a set of credentials in an entry, and the names that have a meaning.
pub(super) fn check_set_name(name: &str) -> Result<()> {
    let is_word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let is_taken = !matches!(AllowedSet::of_word(&format!("{AS}{name}")), Some(AllowedSet::Named(_)));
    let shown = printable_line(name);
    if is_taken {
        return Err(Error::invalid(format!("credentials cannot be named {shown}, which names what is there already")));
    }
    if is_word {
        Ok(())
    } else {
        Err(Error::invalid(format!("credentials are named by ASCII letters, digits, '.', '_' and '-', not {shown:?}")))
    }
}

/// The words that may follow the URL.
const WORDS: [&str; 4] = ["anonymous", "env", "private", UNPINNED];
/// The one of them that `file:` entries take.
const UNPINNED: &str = "unpinned";
const AT: &str = "at:";
const AS: &str = "as:";

/// A server in the form that is compared: scheme and host in lower case, the path as it is written.
pub(super) fn server(url: &str) -> String {
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
    if words.iter().all(|word| WORDS.contains(word) || word.starts_with(AT) || word.starts_with(AS)) {
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
            "allowed place {} is followed by something else than {}, {AS}NAME and {AT}URL, joined by +",
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
        let wrong = |why: &str| Error::invalid(format!("allowed place {} {why}", url::shown(text)));
        let mut sets = words.iter().filter_map(|word| AllowedSet::of_word(word));
        let credentials = sets.next();
        if let Some(AllowedSet::Named(name)) = &credentials {
            check_set_name(name).map_err(|e| e.context(format!("allowed place {}", url::shown(text))))?;
        }
        if sets.any(|other| Some(&other) != credentials.as_ref()) {
            return Err(wrong("is given two credentials, such as anonymous and env; choose one"));
        }
        let private = words.contains(&"private");
        let at = words.iter().find_map(|word| word.strip_prefix(AT)).map(server);
        if at.is_some() && matches!(scheme, UrlScheme::Http | UrlScheme::Https) {
            return Err(wrong("names its server already; leave out at:"));
        }
        Ok(Self { prefix: prefix.to_owned(), scheme, credentials, private, at, unpinned: words.contains(&UNPINNED) })
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [(self.private, "private"), (self.unpinned, UNPINNED)].into_iter().filter(|(is, _)| *is);
        let set = self.credentials.as_ref().map(AllowedSet::word);
        let words = set.into_iter().chain(flags.map(|(_, word)| word.to_owned()));
        let words: Vec<_> = words.chain(self.at.as_ref().map(|at| format!("{AT}{at}"))).collect();
        let equals = if words.is_empty() { "" } else { "=" };
        write!(f, "{}/{equals}{}", self.prefix, words.join("+"))
    }
}

impl Allow {
    /// The directories that a `file:` entry names: percent-decoded, and as it is written where that is another one.
    pub(super) fn roots(&self) -> impl Iterator<Item = PathBuf> {
        let path = self.prefix.strip_prefix("file://");
        path.map(|path| if path.is_empty() { "/" } else { path }).into_iter().flat_map(url::paths)
    }

    /// Whether `unpinned` is its only word.
    #[cfg(feature = "remote")]
    pub(super) fn only_unpinned(&self) -> bool {
        self.unpinned && self.credentials.is_none() && !self.private && self.at.is_none()
    }

    /// The same entry with these credentials, and about `server` where the snapshot names that.
    #[cfg(feature = "remote")]
    pub(super) fn given(&self, set: AllowedSet, server_named: Option<&str>) -> Self {
        Self { credentials: Some(set), at: server_named.map(server), unpinned: false, ..self.clone() }
    }

    pub(super) fn permits(&self, url: &str) -> bool {
        url.strip_prefix(self.prefix.as_str()).is_some_and(|rest| match rest.bytes().next() {
            None | Some(b'/') => true,
            Some(b'?') => matches!(self.scheme, UrlScheme::Http | UrlScheme::Https),
            Some(_) => false,
        })
    }
}
