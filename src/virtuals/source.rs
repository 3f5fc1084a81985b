//! What every kind of place must be able to do, and how it says that it could not.
//!
//! Six things can go wrong with an external file, and each is its own kind, because each has another remedy: it is absent
//! (`NotFound`), out of reach (`Unavailable`), another one than was committed (`SourceChanged`), damaged (`Corrupt`: cut short, or
//! not of its digest), not allowed (`Denied`), or impossible to verify here (`Unsupported`).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::access::Access;
use super::url;
use super::validator::{Difference, Expected, Stat};
use crate::error::{Error, Result};
use crate::id::HashAlgorithm;

/// Where bytes are wanted from, and in whose name. The reader's access goes along because only the source learns where a
/// place really is: behind links, redirects and names.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// For whom: the key that is read, or nothing where the file itself is the subject.
    pub(crate) key: Option<String>,
    pub(crate) container: String,
    pub(crate) url: String,
    /// The literal beginning of the template that gave the URL.
    pub(crate) prefix: String,
    /// What the container says of how the place is reached.
    #[cfg_attr(not(feature = "remote"), expect(dead_code, reason = "only places on a network are reached in more than one way"))]
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) access: Arc<Access>,
}

impl Place {
    /// A message about the file, beginning with the key and the URL.
    pub(crate) fn says(&self, what: impl fmt::Display) -> String {
        let url = url::shown(&self.url);
        self.key.as_ref().map_or_else(|| format!("{url} {what}"), |key| format!("{key}: {url} {what}"))
    }

    /// The directory to allow: that of the container, or of the file itself where the container is a whole disk.
    fn directory(&self) -> &str {
        let is_path = self.url.starts_with("file:");
        let directory = |text: &str| {
            let path = if is_path { text } else { text.split('?').next().unwrap_or(text) };
            path.rfind('/').map_or(0, |at| at + 1)
        };
        let authority = self.url.find("://").map_or(0, |at| at + 3);
        let end = directory(&self.prefix);
        let of_container = self.url.get(..end).filter(|_| end > authority + 1 || (end > authority && !is_path));
        of_container.or_else(|| self.url.get(..directory(&self.url))).unwrap_or(&self.url)
    }

    /// The refusal of a place that the reader did not allow; `really` is where links led, if they led elsewhere.
    pub(crate) fn denied(&self, really: Option<&str>) -> Error {
        let subject = self.key.clone().unwrap_or_else(|| url::shown(&self.url));
        let place = url::shown_whole(really.unwrap_or_else(|| self.directory()));
        let how = if really.is_some() { ", through a symbolic link" } else { "" };
        Error::denied(format!("{subject} lies in {place} (container {}{how}), which is not allowed; add --allow {place}", self.container))
    }

    /// The error for a file that ends before the last byte of `range`.
    pub(crate) fn too_short(&self, range: &Range<u64>, size: Option<u64>) -> Error {
        let (start, end) = (range.start, range.end);
        let is = size.map_or_else(String::new, |size| format!(", is {size}"));
        Error::corrupt(self.says(format_args!("is cut short: bytes {start}..{end} need a length of {end} bytes{is}")))
    }

    /// The error for a file that is not the recorded one.
    pub(crate) fn differs(&self, difference: &Difference) -> Error {
        match difference {
            Difference::CutShort { was, is } => {
                Error::corrupt(self.says(format_args!("is cut short: was {was} bytes when pinned, is {is}")))
            }
            Difference::Changed(why) => Error::source_changed(self.says(format_args!("changed since it was pinned: {why}"))),
        }
    }
}

/// A kind of place from which external bytes come.
///
/// Every method first makes sure that the place is allowed, where it really is.
#[async_trait]
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// What the source tells of the file now, with its digest if one is asked for; `None` when it does not exist.
    async fn lookup(&self, place: &Place, digest: Option<HashAlgorithm>) -> Result<Option<Stat>>;

    /// Succeeds if the file is, now, as `expected` in everything that the source tells, and has its digest.
    async fn check(&self, place: &Place, expected: &Expected) -> Result<()>;

    /// Reads exactly `range`, provably of the expected file as far as its validators prove anything.
    async fn read(&self, place: &Place, range: Range<u64>, expected: &Expected) -> Result<Bytes>;
}
