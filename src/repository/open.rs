//! Opening a repository.

use std::sync::Arc;

use super::create::{lost_config, read_config};
use crate::error::{Error, ErrorDetail, Result};
use crate::format::RepoConfig;
use crate::handle::{OpenOptions, Repository};
use crate::storage::{self, Storage};
use crate::time::Timestamp;

impl Repository {
    /// Opens the repository at `place`: a path, `file://…`, `memory:`, or the URL of an object store (see [`storage::open`]).
    ///
    /// Settings and credentials of object stores are taken from the environment variables of this process
    /// ([`OpenOptions::from_environment`]). `NotFound` when there is none, `Conflict` when its `repo.json` was lost
    /// (with [`OpenOptions::read_only`] it is read all the same),
    /// `Unsupported` when a newer release made it. Dropping the future changes nothing.
    pub async fn open(place: &str) -> Result<Self> {
        Self::open_with(place, OpenOptions::from_environment()).await
    }

    /// Opens the repository at `place` with the given options. Dropping the future changes nothing.
    pub async fn open_with(place: &str, options: OpenOptions) -> Result<Self> {
        Self::open_storage(storage::open(place, options.local.clone(), &options.cloud)?, options).await
    }

    /// Opens the repository in any store that keeps the promises of [`storage`]. Dropping the future changes nothing.
    pub async fn open_storage(storage: Arc<dyn Storage>, options: OpenOptions) -> Result<Self> {
        let config = match read_config(&storage).await? {
            Some(config) => config,
            None => missing_config(&storage, &options).await?,
        };
        Ok(Self::assemble(storage, config, options))
    }
}

/// The settings of a repository whose `repo.json` was lost: the hash of its snapshots, if the repository is only read.
///
/// A wrong guess does no harm, because every object that is read is compared with its id.
async fn missing_config(storage: &Arc<dyn Storage>, options: &OpenOptions) -> Result<RepoConfig> {
    let lost = match lost_config(storage).await {
        Err(e) if e.is_retryable() => return Err(e),
        // Without a listing it is not known whether there is a repository.
        lost => lost.unwrap_or_default(),
    };
    let Some(error) = lost else {
        let error = Error::not_found(format!("{storage} holds no repository"));
        return Err(error.about(ErrorDetail::NoRepository));
    };
    match error.detail() {
        Some(ErrorDetail::LostConfig { hash: Some(hash) }) if options.is_read_only() => {
            tracing::warn!(%storage, "repo.json was lost; reading with the hash of the snapshots");
            Ok(RepoConfig { hash: hash.parse()?, created: Timestamp::MIN })
        }
        _ => Err(error),
    }
}
