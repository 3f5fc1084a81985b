//! Repositories in memory.

use std::error::Error;
use std::sync::Arc;

use firnline::{Repository, Snapshot};
use zarrs_firnline::AsyncFirnlineStore;

pub(crate) type Done<T = ()> = Result<T, Box<dyn Error>>;

pub(crate) async fn repository() -> Done<Repository> {
    Ok(Repository::create("memory:").await?)
}

/// Commits what was written to a store.
pub(crate) async fn commit(store: Arc<AsyncFirnlineStore<firnline::WriteSession>>) -> Done<Snapshot> {
    Ok(store.into_session()?.commit("a test").await?)
}
