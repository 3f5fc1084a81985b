//! Where the files at or below a URL can stand in a files map.
//!
//! A URL is turned into beginnings of file keys by the templates of the containers, so that a map is asked only where such a file can
//! be. The beginnings are wider than the place, and what is found there is compared by its URL. Nothing is missed: the path of a
//! `file:` URL can be spelt in many ways, and every other spelling parts from the plain path at a `%`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::format::Container;
use crate::map::Spans;
use crate::text::shown;
use crate::virtuals::{file_url, is_at_or_below, url_paths};

/// The files at or below a URL.
#[derive(Debug, Clone)]
pub(super) struct FilePlace {
    url: String,
    /// Every URL of such a file begins with one of these.
    beginnings: Vec<String>,
}

impl FilePlace {
    /// Reads the URL of a file, or of something above it; what is no URL is `Invalid`, with what to write instead.
    pub(super) fn new(url: &str) -> Result<Self> {
        let Some((scheme, _)) = url.split_once("://") else {
            let path = PathBuf::from(url);
            let hint = file_url(&path).map_or_else(|_| "file:///path/of/it".to_owned(), |url| shown(&url));
            return Err(Error::invalid(format!("{:?} is not a URL; write a path as {hint}", shown(url))));
        };
        let beginnings = if scheme == "file" {
            url_paths(url.strip_prefix("file://").unwrap_or(url)).flat_map(|path| spellings(&path)).collect()
        } else {
            BTreeSet::from([url.trim_end_matches('/').to_owned()])
        };
        Ok(Self { url: url.to_owned(), beginnings: beginnings.into_iter().collect() })
    }

    /// Whether a file with this URL lies there.
    pub(super) fn holds(&self, url: &str) -> bool {
        is_at_or_below(url, &self.url)
    }

    /// Where the keys of such files can be in a files map with these containers.
    pub(super) fn spans<'c>(&self, containers: impl IntoIterator<Item = &'c Container>) -> Result<Spans> {
        let mut texts = Vec::new();
        for container in containers {
            for beginning in &self.beginnings {
                texts.extend(container.keys_beginning(beginning)?);
            }
        }
        Ok(Spans::beginnings(texts))
    }
}

/// Beginnings of all URLs of files at or below a path.
fn spellings(path: &std::path::Path) -> BTreeSet<String> {
    use std::os::unix::ffi::OsStrExt as _;
    let path: PathBuf = path.components().collect();
    let bytes = path.as_os_str().as_bytes();
    // What is not UTF-8 is percent-encoded in every URL.
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => bytes.get(..e.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok()).unwrap_or_default(),
    };
    let mut found = BTreeSet::new();
    if text.len() == bytes.len() {
        found.insert(format!("file://{}", text.trim_end_matches('/')));
    }
    for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
        let before = text.get(..at).unwrap_or_default();
        found.insert(format!("file://{before}%"));
    }
    found
}
