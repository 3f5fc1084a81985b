//! The conformance tests of `zarrs_storage`: over a session, and over the snapshot that it commits.

use std::sync::Arc;

use zarrs_firnline::AsyncFirnlineStore;
use zarrs_storage::store_test::{async_store_list, async_store_list_size, async_store_read, async_store_write};

use crate::support::{Done, commit, repository};

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
