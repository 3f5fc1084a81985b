//! The conformance tests of `zarrs_storage`: over a session, and over the snapshot that it commits.

use std::sync::Arc;

use firnline::block_on;
use zarrs_firnline::{AsyncFirnlineStore, FirnlineStore};
use zarrs_storage::store_test::{
    async_store_list, async_store_list_size, async_store_read, async_store_write, store_list, store_list_size, store_read, store_write,
};

use crate::support::{Done, commit, repository, threads};

#[tokio::test]
async fn an_asynchronous_session_store_conforms() -> Done {
    let store = AsyncFirnlineStore::new(repository().await?.write("main").await?);
    async_store_write(&store).await?;
    async_store_read(&store).await?;
    async_store_list(&store).await?;
    async_store_list_size(&store).await
}

/// Staged changes hide what the base holds: the tests begin by erasing everything.
#[tokio::test]
async fn an_asynchronous_store_over_a_filled_repository_conforms() -> Done {
    let repository = repository().await?;
    let store = Arc::new(AsyncFirnlineStore::new(repository.write("main").await?));
    async_store_write(&store).await?;
    zarrs_storage::AsyncWritableStorageTraits::set(&*store, &"old".try_into()?, vec![7; 5000].into()).await?;
    commit(store).await?;
    let store = AsyncFirnlineStore::new(repository.write("main").await?);
    async_store_write(&store).await?;
    async_store_read(&store).await?;
    async_store_list(&store).await?;
    async_store_list_size(&store).await
}

#[tokio::test]
async fn an_asynchronous_snapshot_store_conforms() -> Done {
    let store = Arc::new(AsyncFirnlineStore::new(repository().await?.write("main").await?));
    async_store_write(&store).await?;
    let store = AsyncFirnlineStore::new(commit(store).await?);
    async_store_read(&store).await?;
    async_store_list(&store).await?;
    async_store_list_size(&store).await
}

#[test]
fn a_synchronous_session_store_conforms() -> Done {
    let runtime = threads();
    let session = block_on(runtime.handle(), async { Done::Ok(repository().await?.write("main").await?) })?;
    let store = FirnlineStore::new(session, runtime.handle().clone());
    store_write(&store)?;
    store_read(&store)?;
    store_list(&store)?;
    store_list_size(&store)
}

#[test]
fn a_synchronous_snapshot_store_conforms() -> Done {
    let runtime = threads();
    let session = block_on(runtime.handle(), async { Done::Ok(repository().await?.write("main").await?) })?;
    let store = Arc::new(FirnlineStore::new(session, runtime.handle().clone()));
    store_write(&store)?;
    let snapshot = block_on(runtime.handle(), store.into_session()?.commit("a test"))?;
    let store = FirnlineStore::new(snapshot, runtime.handle().clone());
    store_read(&store)?;
    store_list(&store)?;
    store_list_size(&store)
}
