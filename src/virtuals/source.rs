//! The trait of the sources of external bytes, and their errors.
//!
//! Six things can go wrong with an external file, and each is its own kind, because each has another remedy: it is absent
//! (`NotFound`), out of reach (`Unavailable`), not the one that was committed (`SourceChanged`), damaged (`Corrupt`: cut short,
//! or without its digest), not allowed (`Denied`), or impossible to verify here (`Unsupported`).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::access::Access;
use super::url;
use super::validator::{Difference, ExpectedFile, Stat};
use crate::error::{Error, Remedy, Result};
use crate::id::HashAlgorithm;
use crate::text::printable_line;

/// The place of an external file, with the access of the reader. Only the source learns where a place really is, behind links,
/// redirects and names, so the source checks the access.
#[derive(Debug, Clone)]
pub(crate) struct ExternalPlace {
    /// The key that is read; `None` where the call is about the file itself.
    pub(crate) key: Option<String>,
    pub(crate) container: String,
    pub(crate) url: String,
    /// The literal beginning of the template that gave the URL.
    pub(crate) prefix: String,
    /// The options of the container, which say how the place is reached.
    #[cfg_attr(not(feature = "remote"), expect(dead_code, reason = "only places on a network are reached in more than one way"))]
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) access: Arc<Access>,
}

impl ExternalPlace {
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
        let container = printable_line(&self.container);
        let error = Error::denied(format!("{subject} lies in {place} (container {container}{how}), which is not allowed"));
        error.remedied_by(Remedy::Allow(place))
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
            Difference::Changed(why) => {
                let error = Error::source_changed(self.says(format_args!("changed since it was pinned: {why}")));
                error.remedied_by(Remedy::Repin(url::shown_whole(&self.url)))
            }
            Difference::Undigested => {
                Error::unsupported(self.says("cannot be verified without its digest: nothing else is recorded that would show a change"))
            }
            Difference::Unproven(why) => {
                let error = Error::unsupported(self.says(format_args!("cannot be verified: {why}")));
                error.remedied_by(Remedy::Allow(format!("{}=unpinned", url::shown_whole(self.directory()))))
            }
        }
    }
}

/// A kind of place from which external bytes come.
///
/// Every method first makes sure that the place is allowed, where it really is.
#[async_trait]
pub(crate) trait ExternalSource: fmt::Debug + Send + Sync {
    /// Looks up the present facts about the file, with its digest if one is asked for; `None` when the file does not exist.
    async fn lookup(&self, place: &ExternalPlace, digest: Option<HashAlgorithm>) -> Result<Option<Stat>>;

    /// Succeeds if the file is, now, as `expected` in everything that the source tells, and has its digest.
    async fn check(&self, place: &ExternalPlace, expected: &ExpectedFile) -> Result<()>;

    /// Reads exactly `range`, provably of the expected file as far as its validators prove anything.
    async fn read(&self, place: &ExternalPlace, range: Range<u64>, expected: &ExpectedFile) -> Result<Bytes>;
}
