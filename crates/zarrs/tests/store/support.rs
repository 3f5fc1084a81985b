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

/// A runtime whose threads are not this one, as synchronous stores need it.
pub(crate) fn threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
