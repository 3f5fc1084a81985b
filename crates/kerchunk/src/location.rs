//! What the places that reference sets write mean as URLs of the engine.
//!
//! Kerchunk writes whatever `fsspec` opens: bare paths, URLs, and URLs with a cache in front. `fsspec` resolves a relative path
//! against the working directory of the reader, which a stored reference cannot mean; here it is relative to the directory that
//! holds the reference set, or to one that is named.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use firnline::{Error, Result, file_url, printable_line};

use crate::error::{file_error, shown};

/// Caches of `fsspec`, which change how bytes are read and not which.
const CACHES: [&str; 4] = ["simplecache::", "filecache::", "blockcache::", "cached::"];

/// Schemes that have another name here.
const RENAMED: [(&str, &str); 5] = [("s3a", "s3"), ("gcs", "gs"), ("abfs", "az"), ("abfss", "az"), ("azure", "az")];

/// At most this many characters of a place are shown.
const SHOWN: usize = 200;

/// The directory that holds a reference set: relative paths begin there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReferenceBase {
    /// Absolute, without symbolic links and `..`, so that a leading `..` of a path can be taken off by its name.
    directory: PathBuf,
}

impl ReferenceBase {
    /// The directory in which the reference set at `set` lies, which must exist. `NotFound` if it does not.
    pub(crate) fn of(set: &Path) -> Result<Self> {
        let whole = set.canonicalize().map_err(|e| file_error("find", set, e))?;
        let directory = whole.parent().map_or_else(|| whole.clone(), Path::to_path_buf);
        Ok(Self { directory })
    }

    /// A directory, which must exist. `NotFound` if it does not.
    pub(crate) fn at(directory: &Path) -> Result<Self> {
        Ok(Self { directory: directory.canonicalize().map_err(|e| file_error("find", directory, e))? })
    }

    /// The URL of what a reference set calls `place`.
    ///
    /// A bare path becomes a `file:` URL, percent-encoded; a relative one begins in the directory that holds the set. What follows
    /// `file://` and `local://` is such a path too: `fsspec` decodes none, so that `%20` is three characters of a name. `s3a:`, `gcs:`,
    /// `abfs:` and their like get the names that the engine uses, and a cache in front (`simplecache::`) is left out, because it does
    /// not say where bytes come from. Any other URL stays as it is: the engine checks it when it is staged. `Invalid` for a place
    /// inside an archive (`zip://…::…`), for a path that leads upwards from below, and for `file://` with a relative path.
    pub(crate) fn url<'p>(&self, place: &'p str) -> Result<Cow<'p, str>> {
        let mut rest = place;
        while let Some(inner) = CACHES.iter().find_map(|cache| rest.strip_prefix(cache)) {
            rest = inner;
        }
        let Some((scheme, path)) = rest.split_once("://") else {
            return self.path_url(rest).map(Cow::Owned);
        };
        if scheme.contains("::") || (!matches!(scheme, "http" | "https") && path.contains("::") && path.contains("://")) {
            return Err(wrong(place, "lies inside of another file; only files and objects as they are can be referred to"));
        }
        if !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return self.path_url(rest).map(Cow::Owned);
        }
        if matches!(scheme, "file" | "local") {
            if !path.starts_with('/') {
                return Err(wrong(place, "has no absolute path; write the path with three slashes, as in file:///data/a.nc"));
            }
            return self.path_url(path).map(Cow::Owned);
        }
        if scheme == "adl" {
            return Err(wrong(place, "names an account of Azure Data Lake Gen1, which is not read; write az://CONTAINER/… for a copy"));
        }
        match RENAMED.iter().find(|(name, _)| *name == scheme) {
            Some((_, "az")) if path.split('/').next().is_some_and(|container| container.contains('@')) => {
                Err(wrong(place, "names an account; write az://CONTAINER/… and give the account as an option of a container"))
            }
            Some((_, name)) => Ok(Cow::Owned(format!("{name}://{path}"))),
            None => Ok(Cow::Borrowed(rest)),
        }
    }

    fn path_url(&self, place: &str) -> Result<String> {
        if place.is_empty() {
            return Err(Error::invalid("names no file"));
        }
        let path = Path::new(place);
        if path.is_absolute() {
            return file_url(path);
        }
        let mut whole = self.directory.clone();
        let mut parts = path.components().peekable();
        while let Some(Component::ParentDir | Component::CurDir) = parts.peek() {
            if parts.next() == Some(Component::ParentDir) && !whole.pop() {
                return Err(wrong(place, &format!("leads out of the root from {}", shown(&self.directory))));
            }
        }
        whole.extend(parts);
        file_url(&whole)
    }
}

fn wrong(place: &str, why: &str) -> Error {
    let shown: String = place.chars().take(SHOWN).collect();
    Error::invalid(format!("{} {why}", printable_line(&shown)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_a_place_becomes_a_url_or_an_error() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().canonicalize().unwrap().join("sets/a b");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(below.join("set.json"), "{}").unwrap();
        let base = ReferenceBase::of(&below.join("set.json")).unwrap();
        assert_eq!(base, ReferenceBase::at(&below).unwrap());
        let here = file_url(&below).unwrap();
        let above = file_url(below.parent().unwrap()).unwrap();
        for (place, url) in [
            ("/data/a b.nc", "file:///data/a%20b.nc".to_owned()),
            ("/data/100%.nc", "file:///data/100%25.nc".to_owned()),
            ("a.nc", format!("{here}/a.nc")),
            ("./c/a.nc", format!("{here}/c/a.nc")),
            ("../a.nc", format!("{above}/a.nc")),
            ("a:b.nc", format!("{here}/a%3Ab.nc")),
            ("file:///data/a.nc", "file:///data/a.nc".to_owned()),
            ("local:///data/a.nc", "file:///data/a.nc".to_owned()),
            ("file:///data/a b%20c%.nc", "file:///data/a%20b%2520c%25.nc".to_owned()),
            ("local:///data/a%20b.nc", "file:///data/a%2520b.nc".to_owned()),
            ("simplecache::file:///data//a#b?c.nc", "file:///data/a%23b%3Fc.nc".to_owned()),
            ("s3://bucket/a.nc", "s3://bucket/a.nc".to_owned()),
            ("s3a://bucket/a.nc", "s3://bucket/a.nc".to_owned()),
            ("gcs://bucket/a.nc", "gs://bucket/a.nc".to_owned()),
            ("abfs://container/a.nc", "az://container/a.nc".to_owned()),
            ("simplecache::filecache::s3://bucket/a.nc", "s3://bucket/a.nc".to_owned()),
            ("https://example.org/x?of=http://b/::c", "https://example.org/x?of=http://b/::c".to_owned()),
        ] {
            assert_eq!(base.url(place).unwrap_or_else(|e| panic!("{place}: {e}")), url, "{place}");
        }
        for bad in [
            "",
            "zip://a.nc::s3://bucket/b.zip",
            "simplecache::zip://a::file:///b.zip",
            "a/../b.nc",
            "/a/../b",
            "file:///a/../b",
            "file://a/b.nc",
            "abfs://c@account.net/a",
            "adl://account/a.nc",
        ] {
            assert_eq!(base.url(bad).unwrap_err().kind(), firnline::ErrorKind::Invalid, "{bad}");
        }
        assert_eq!(ReferenceBase::of(Path::new("/no/such")).unwrap_err().kind(), firnline::ErrorKind::NotFound);
        assert_eq!(ReferenceBase::at(Path::new("/no/such")).unwrap_err().kind(), firnline::ErrorKind::NotFound);
    }
}
