//! Objects that hold data of their own instead of a repository: what an import from a bucket reads.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::io::AsyncRead;

use super::CloudOptions;
use super::cloud::place::CloudPlace;
#[cfg(feature = "remote")]
use super::cloud::place::StoreScheme;
use crate::error::{Error, Result};

/// The objects below a place. They may change at any time.
#[async_trait]
pub(crate) trait SourceObjects: fmt::Debug + fmt::Display + Send + Sync {
    /// Names the place among all places, with its server: what is remembered of its objects is found under this name.
    fn identity(&self) -> String;

    /// Every object below the place, in no particular order. The stream ends after an error.
    fn list_sources(&self) -> BoxStream<'static, Result<SourceObject>>;

    /// Opens an object; `None` when it does not exist.
    async fn open_source(&self, name: &str) -> Result<Option<SourceBody>>;
}

/// What a listing tells of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceObject {
    /// Its key without the place and the slash that follows it.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Its strong `ETag`, if it has one.
    pub(crate) etag: Option<String>,
}

/// An object that is being read. All its bytes are of one state of it.
pub(crate) struct SourceBody {
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Its strong `ETag`, if it has one.
    pub(crate) etag: Option<String>,
    pub(crate) reader: Pin<Box<dyn AsyncRead + Send>>,
}

/// Opens a place in a bucket. Sends nothing.
///
/// `Unsupported` when this build lacks the scheme, and for a web server, which cannot be listed; `Denied` when credentials are needed
/// and none are named; `Invalid` when a setting cannot be parsed.
#[cfg(feature = "remote")]
pub(crate) fn open_sources(place: &CloudPlace, options: &CloudOptions) -> Result<Arc<dyn SourceObjects>> {
    if place.scheme == StoreScheme::Http {
        return Err(Error::unsupported(format!("{place} cannot be imported: a web server does not tell which files it has")));
    }
    Ok(Arc::new(super::Cloud::at(place.clone(), options)?))
}

/// Says that this build cannot open a place in a bucket.
#[cfg(not(feature = "remote"))]
pub(crate) fn open_sources(place: &CloudPlace, _options: &CloudOptions) -> Result<Arc<dyn SourceObjects>> {
    Err(Error::unsupported(format!("{place} is in an object store, which this build does not support; build it with the feature cloud")))
}
