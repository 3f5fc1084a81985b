//! Where imports read from: a directory, or the objects below a place in a bucket.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};

use super::files::walk;
use super::walk::Found;
use crate::error::{Error, Result};
use crate::key::{Key, Prefix};
use crate::storage::CloudOptions;
use crate::storage::sources::{SourceObject, SourceObjects, open_sources};
use crate::storage::url::StoragePlace;

/// What an import reads: the files of a directory, or the objects below a place in a bucket. A clone is the same place.
#[derive(Debug, Clone)]
pub struct ImportSource(SourcePlace);

#[derive(Debug, Clone)]
enum SourcePlace {
    Directory(PathBuf),
    Objects(Arc<dyn SourceObjects>),
}

impl ImportSource {
    /// The files of a directory.
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self(SourcePlace::Directory(path.into()))
    }

    /// Reads a place as users write it: a path or a `file:` URL, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`.
    /// `cloud` says how an object store is reached. Sends nothing.
    ///
    /// `Unsupported` when this build lacks the scheme, and for a web server, which does not tell which files it has; `Denied` when
    /// credentials are needed and none are named; `Invalid` when the place or a setting cannot be parsed.
    pub fn open(place: &str, cloud: &CloudOptions) -> Result<Self> {
        match StoragePlace::parse(place)? {
            StoragePlace::Directory(path) => Ok(Self::directory(path)),
            StoragePlace::Memory => Err(Error::invalid("memory: holds nothing that could be imported")),
            StoragePlace::Cloud(place) => Ok(Self::objects(open_sources(&place, cloud)?)),
        }
    }

    pub(super) fn objects(objects: Arc<dyn SourceObjects>) -> Self {
        Self(SourcePlace::Objects(objects))
    }

    /// Names the place among all places; `None` when it is a directory that does not exist. Links to a directory and relative paths
    /// name the same one.
    pub(super) fn identity(&self) -> Option<Vec<u8>> {
        match &self.0 {
            SourcePlace::Directory(path) => Some(path.canonicalize().ok()?.as_os_str().as_bytes().to_vec()),
            SourcePlace::Objects(objects) => Some(format!("objects {}", objects.identity()).into_bytes()),
        }
    }

    /// Finds what there is, as a stream. The future gives the number of empty directories once the stream has ended.
    pub(super) fn find(&self, prefix: Prefix) -> (BoxStream<'static, Result<Incoming>>, BoxFuture<'static, Result<u64>>) {
        match &self.0 {
            SourcePlace::Directory(path) => {
                let (found, walk) = walk(path.clone(), prefix);
                (found.map(|found| found.map(Incoming::File)).boxed(), walk.boxed())
            }
            SourcePlace::Objects(objects) => {
                let place = Arc::clone(objects);
                let found = objects.list_sources().map(move |object| {
                    let object = object?;
                    let key = prefix.join(&object.name).map_err(|e| e.context(format!("{place}: {}", object.name)))?;
                    Ok(Incoming::Object(Arc::clone(&place), FoundObject { key, object }))
                });
                (found.boxed(), async { Ok(0) }.boxed())
            }
        }
    }
}

impl fmt::Display for ImportSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            SourcePlace::Directory(path) => path.display().fmt(f),
            SourcePlace::Objects(objects) => objects.fmt(f),
        }
    }
}

/// A file or an object on its way in.
#[derive(Debug)]
pub(super) enum Incoming {
    File(Found),
    Object(Arc<dyn SourceObjects>, FoundObject),
}

/// An object on its way in.
#[derive(Debug)]
pub(super) struct FoundObject {
    pub(super) key: Key,
    pub(super) object: SourceObject,
}

impl Incoming {
    pub(super) const fn key(&self) -> &Key {
        match self {
            Self::File(found) => &found.key,
            Self::Object(_, found) => &found.key,
        }
    }

    /// Its path below the imported place: the key without the prefix.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::File(found) => &found.name,
            Self::Object(_, found) => &found.object.name,
        }
    }

    /// Its length when it was found, in bytes.
    pub(super) const fn size(&self) -> u64 {
        match self {
            Self::File(found) => found.size,
            Self::Object(_, found) => found.object.size,
        }
    }
}
