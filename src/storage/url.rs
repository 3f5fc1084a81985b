//! Where a repository lies, as a user writes it: a path, `file://`, `memory:`, or the URL of an object store.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::cloud::place::CloudPlace;
use super::{CloudOptions, Local, LocalOptions, Memory, Storage};
use crate::error::{Error, Result};
use crate::percent;

/// A parsed place; nothing has been opened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoragePlace {
    /// A directory on local disk, which need not exist.
    Directory(PathBuf),
    /// A new, empty store in memory.
    Memory,
    /// In an object store, or on a web server.
    Cloud(CloudPlace),
}

impl StoragePlace {
    /// Parses a place. An unknown scheme is `Invalid`.
    ///
    /// Anything without a scheme is a path, taken as it is. A `file:` URL is percent-decoded; where only the literal path
    /// exists, that one is meant.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid("the place of a repository is empty"));
        }
        if text.contains('\0') {
            return Err(Error::invalid(format!("{text:?} has a NUL byte")));
        }
        let Some((scheme, rest)) = split_scheme(text) else { return Ok(Self::Directory(PathBuf::from(text))) };
        let scheme = scheme.to_ascii_lowercase();
        if let Some(cloud) = CloudPlace::parse(&scheme, rest) {
            return cloud.map(Self::Cloud);
        }
        match scheme.as_str() {
            "file" => file_url(text, rest).map(Self::Directory),
            "memory" if matches!(rest, "" | "//") => Ok(Self::Memory),
            "memory" => Err(Error::invalid(format!("{text:?} names a store in memory, which has no name; write memory:"))),
            other => Err(Error::invalid(format!(
                "{other}: is not a scheme that a repository can have; for a path with a colon write ./{other}:…"
            ))),
        }
    }

    /// Opens the place. Creates nothing: a directory appears with the first write.
    pub(crate) fn open(self, local: LocalOptions, cloud: &CloudOptions) -> Result<Arc<dyn Storage>> {
        Ok(match self {
            Self::Directory(path) => Arc::new(Local::open(path, local)?),
            Self::Memory => Arc::new(Memory::new()),
            Self::Cloud(place) => open_cloud(&place, cloud)?,
        })
    }
}

/// Opens the store at `place`. Creates nothing, and sends nothing yet.
///
/// A place is a path or a `file://` URL; `memory:` for a new store in memory; `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`,
/// `az://CONTAINER/PREFIX`; or, for reading alone, the `http://` or `https://` URL of a directory on a web server.
/// [`CloudOptions`] says which settings and credentials object stores take from the environment.
///
/// Schemes are `Unsupported` when this build lacks them (features `aws`, `gcp`, `azure`, `http`; `cloud` is all of them) and
/// `Invalid` when they are unknown. `Denied` when a store needs credentials and none are named.
pub fn open(place: &str, local: LocalOptions, cloud: &CloudOptions) -> Result<Arc<dyn Storage>> {
    StoragePlace::parse(place)?.open(local, cloud)
}

#[cfg(feature = "remote")]
fn open_cloud(place: &CloudPlace, options: &CloudOptions) -> Result<Arc<dyn Storage>> {
    Ok(Arc::new(super::Cloud::at(place.clone(), options)?))
}

#[cfg(not(feature = "remote"))]
fn open_cloud(place: &CloudPlace, _options: &CloudOptions) -> Result<Arc<dyn Storage>> {
    Err(Error::unsupported(format!("{place} is in an object store, which this build does not support; build it with the feature cloud")))
}

/// Splits `scheme:rest` (RFC 3986); a colon after the first `/` belongs to a path.
pub(super) fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    ok.then_some((scheme, rest))
}

/// The path in what follows `file:`.
fn file_url(text: &str, rest: &str) -> Result<PathBuf> {
    if let Some(found) = rest.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(Error::invalid(format!("{text:?} has {found:?}; in a file URL write it as %{:02X}", u32::from(found))));
    }
    let path = match rest.strip_prefix("//") {
        Some(after) => {
            let (host, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                return Err(Error::invalid(format!("{text:?} names the host {host:?}; a file URL has none: write file:///path")));
            }
            path
        }
        None => rest,
    };
    if !path.starts_with('/') {
        return Err(Error::invalid(format!("{text:?} has no absolute path; write file:///path, or the path alone")));
    }
    let bytes = percent::decoded(path);
    if bytes.contains(&0) {
        return Err(Error::invalid(format!("{text:?} has a NUL byte, written %00")));
    }
    let (decoded, literal) = (PathBuf::from(OsString::from_vec(bytes.into_owned())), PathBuf::from(path));
    // A directory whose name really has a `%20` is found under that spelling too.
    let is_literal = decoded != literal && !decoded.exists() && literal.exists();
    Ok(if is_literal { literal } else { decoded })
}
