//! Repositories in memory.

use std::error::Error;
use std::sync::Arc;

use firnline::{ErrorKind, Repository, Snapshot};
use zarrs_firnline::{AsyncFirnlineStore, firnline_error};
use zarrs_storage::{StoreKey, StorePrefix};

pub(crate) type Done<T = ()> = Result<T, Box<dyn Error>>;

pub(crate) async fn repository() -> Done<Repository> {
    Ok(Repository::create("memory:").await?)
}

/// Commits what was written to a store.
pub(crate) async fn commit(store: Arc<AsyncFirnlineStore<firnline::WriteSession>>) -> Done<Snapshot> {
    Ok(store.into_session()?.commit("a test").await?)
}

/// A runtime whose threads are not this one, as synchronous stores need it.
pub(crate) fn threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub(crate) fn key(text: &str) -> StoreKey {
    StoreKey::new(text).unwrap()
}

pub(crate) fn prefix(text: &str) -> StorePrefix {
    StorePrefix::new(text).unwrap()
}

/// What the engine says went wrong, behind an error of zarrs.
pub(crate) fn kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    firnline_error(error).map(firnline::Error::kind)
}
