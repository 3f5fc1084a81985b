//! Tries out whether a store can hold a repository.

use std::path::Path;
use std::sync::Arc;

use super::cloud::CloudOptions;
use super::url::StoragePlace;
use super::{Local, LocalOptions};
use crate::error::{Error, Result};
use crate::time::Clock;

pub use super::local::lock_once;

/// Whether a store does what a repository needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It does.
    Good,
    /// It does not, or could not be asked: see the detail.
    Bad,
    /// It cannot be observed here, and this store is not used for anything that needs it.
    Unknown,
}

impl Health {
    /// The word in which it is printed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }
}

/// One property of a store as it was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// `answers`, `conditions`, `ranges`, `listing`, `removal`, `clock`; of a directory `directory`, `file system`, `locks`, `rename`, `sync`,
    /// `removal`.
    pub property: &'static str,
    /// Whether it is as it must be.
    pub health: Health,
    /// What was seen, in words.
    pub detail: String,
}

impl Observation {
    pub(super) fn good(property: &'static str, detail: impl Into<String>) -> Self {
        Self { property, health: Health::Good, detail: detail.into() }
    }

    pub(super) fn bad(property: &'static str, detail: impl Into<String>) -> Self {
        Self { property, health: Health::Bad, detail: detail.into() }
    }

    #[cfg(feature = "remote")]
    pub(super) fn unknown(property: &'static str, detail: impl Into<String>) -> Self {
        Self { property, health: Health::Unknown, detail: detail.into() }
    }

    /// Good when `answer` is, else bad for the reason it gives.
    pub(super) fn of(property: &'static str, answer: Result<String>) -> Self {
        match answer {
            Ok(detail) => Self::good(property, detail),
            Err(e) => Self::bad(property, e.to_string()),
        }
    }
}

/// Asks another process whether it can lock a file, by [`lock_once`].
pub type OtherProcess = Box<dyn Fn(&Path) -> Result<bool> + Send>;

/// Tries out what a repository at `place` would rely on. Writes only scratch names, and removes them; a directory that
/// does not exist is not made, its nearest parent is tried instead.
///
/// A fault of the store is an observation. An error means that the place or an option is not valid. Dropping the future may leave
/// scratch names behind, which nothing reads.
pub async fn examine(
    place: &str,
    local: LocalOptions,
    cloud: &CloudOptions,
    clock: Arc<dyn Clock>,
    other: OtherProcess,
) -> Result<Vec<Observation>> {
    match StoragePlace::parse(place)? {
        StoragePlace::Directory(path) => Local::open(path, local)?.examine(other).await,
        StoragePlace::Memory => Err(Error::invalid("a store in memory is new every time; there is nothing to find out about it")),
        #[cfg(feature = "remote")]
        StoragePlace::Cloud(place) => Ok(super::Cloud::at(place, cloud)?.examine(&*clock).await),
        // Says which feature is missing.
        #[cfg(not(feature = "remote"))]
        lacking @ StoragePlace::Cloud(_) => {
            drop(clock);
            lacking.open(local, cloud).map(|_| Vec::new())
        }
    }
}
