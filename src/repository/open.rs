//! Opening a repository.

use std::sync::Arc;

use super::create::load_config;
use crate::error::{Error, ErrorDetail, Result};
use crate::handle::{OpenOptions, Repository};
use crate::storage::{self, Storage};

impl Repository {
    /// Opens the repository at `place`: a path, `file://…`, `memory:`, or the URL of an object store (see [`storage::open`]).
    ///
    /// Settings and credentials of object stores are taken from the environment variables of this process
    /// ([`OpenOptions::from_environment`]). `NotFound` when there is none, `Conflict` when its `repo.json` was lost,
    /// `Unsupported` when a newer release made it. Dropping the future changes nothing.
    pub async fn open(place: &str) -> Result<Self> {
        Self::open_with(place, OpenOptions::from_environment()).await
    }

    /// Opens a repository, saying how.
    pub async fn open_with(place: &str, options: OpenOptions) -> Result<Self> {
        Self::open_storage(storage::open(place, options.local.clone(), &options.cloud)?, options).await
    }

    /// Opens the repository in any store that passes [`storage::conformance`].
    pub async fn open_storage(storage: Arc<dyn Storage>, options: OpenOptions) -> Result<Self> {
        let config = load_config(&storage).await?.ok_or_else(|| {
            let error = Error::not_found(format!("{storage} holds no repository"));
            error.about(ErrorDetail::NoRepository)
        })?;
        Ok(Self::assemble(storage, config, options))
    }
}
