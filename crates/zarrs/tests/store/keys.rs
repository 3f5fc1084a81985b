//! Keys, prefixes, order and ranges.

use std::sync::Arc;

use firnline::ErrorKind;
use zarrs_firnline::{AsyncFirnlineStore, FirnlineStore};
use zarrs_storage::byte_range::ByteRange;
use zarrs_storage::{
    AsyncListableStorageTraits as _, AsyncReadableStorageTraits as _, AsyncWritableStorageTraits as _, ListableStorageTraits as _,
    ReadableStorageTraits as _, StorageError, StoreKey, WritableStorageTraits as _,
};

use crate::support::{Done, commit, key, kind, prefix, repository, threads};

/// Keys of zarrs that a repository cannot hold. The first is the empty key, which zarrs admits.
fn impossible() -> Vec<StoreKey> {
    ["", "a/../b", "./a", "a/.", "a\u{1}b", "a\nb", &"k".repeat(1025)].map(key).into()
}

#[tokio::test]
async fn an_impossible_key_is_absent_and_cannot_be_written() -> Done {
    let store = AsyncFirnlineStore::new(repository().await?.write("main").await?);
    store.set(&key("a/b"), "value".into()).await?;
    for bad in impossible() {
        assert_eq!(store.get(&bad).await?, None);
        assert_eq!(store.size_key(&bad).await?, None);
        assert_eq!(store.get_partial(&bad, ByteRange::FromStart(0, Some(1))).await?, None);
        assert_eq!(store.get_partial(&bad, ByteRange::Suffix(1)).await?, None);
        store.erase(&bad).await?;
        store.erase_many(std::slice::from_ref(&bad)).await?;
        let failed = store.set(&bad, "v".into()).await.unwrap_err();
        assert_eq!(kind(&failed), Some(ErrorKind::Invalid), "{bad}: {failed}");
        let failed = store.set_partial(&bad, 0, "v".into()).await.unwrap_err();
        assert_eq!(kind(&failed), Some(ErrorKind::Invalid), "{bad}: {failed}");
    }
    assert_eq!(store.list().await?, [key("a/b")]);
    Ok(())
}

#[tokio::test]
async fn nothing_lies_below_an_impossible_prefix() -> Done {
    let store = AsyncFirnlineStore::new(repository().await?.write("main").await?);
    store.set(&key("a/b"), "value".into()).await?;
    for bad in ["a//", "a/../", "../", &format!("{}/", "k".repeat(1025))].map(prefix) {
        assert_eq!(store.list_prefix(&bad).await?, []);
        let below = store.list_dir(&bad).await?;
        assert!(below.keys().is_empty() && below.prefixes().is_empty());
        assert_eq!(store.size_prefix(&bad).await?, 0);
        store.erase_prefix(&bad).await?;
    }
    assert_eq!(store.list().await?, [key("a/b")]);
    store.erase_prefix(&prefix("")).await?;
    assert_eq!(store.list().await?, [], "the empty prefix holds everything");
    Ok(())
}

#[test]
fn an_impossible_key_is_absent_for_a_synchronous_store() -> Done {
    let runtime = threads();
    let session = runtime.block_on(async { Done::Ok(repository().await?.write("main").await?) })?;
    let store = FirnlineStore::new(session, runtime.handle().clone());
    for bad in impossible() {
        assert_eq!(store.get(&bad)?, None);
        assert_eq!(store.size_key(&bad)?, None);
        assert_eq!(store.get_partial(&bad, ByteRange::FromStart(0, Some(1)))?, None);
        store.erase(&bad)?;
        assert_eq!(kind(&store.set(&bad, "v".into()).unwrap_err()), Some(ErrorKind::Invalid));
        assert_eq!(kind(&store.set_partial(&bad, 0, "v".into()).unwrap_err()), Some(ErrorKind::Invalid));
    }
    assert_eq!(store.list()?, []);
    store.erase_prefix(&prefix("a//"))?;
    assert_eq!(store.size()?, 0);
    Ok(())
}

/// A repository keeps numbers in their order; zarrs expects bytes in theirs.
#[tokio::test]
async fn lists_are_sorted_bytewise() -> Done {
    let store = Arc::new(AsyncFirnlineStore::new(repository().await?.write("main").await?));
    for name in ["c/9/0", "c/10/0", "c/9", "c/10", "c.9", "c/9/10", "c/9/2"] {
        store.set(&key(name), "v".into()).await?;
    }
    let all = ["c.9", "c/10", "c/10/0", "c/9", "c/9/0", "c/9/10", "c/9/2"].map(key);
    assert_eq!(store.list().await?, all);
    let below = store.list_dir(&prefix("c/")).await?;
    assert_eq!((below.keys().clone(), below.prefixes().clone()), (vec![key("c/10"), key("c/9")], vec![prefix("c/10/"), prefix("c/9/")]));
    let store = AsyncFirnlineStore::new(commit(store).await?);
    assert_eq!(store.list().await?, all);
    assert_eq!(store.list_prefix(&prefix("c/9/")).await?, ["c/9/0", "c/9/10", "c/9/2"].map(key));
    Ok(())
}

#[tokio::test]
async fn ranges_outside_of_a_value_are_errors_of_zarrs() -> Done {
    let store = AsyncFirnlineStore::new(repository().await?.write("main").await?);
    store.set(&key("a"), vec![7; 2000].into()).await?;
    let ask = |ranges: Vec<ByteRange>| store.get_partial_many_of("a", ranges);
    for outside in [
        ByteRange::FromStart(2001, None),
        ByteRange::FromStart(0, Some(2001)),
        ByteRange::FromStart(1, Some(u64::MAX)),
        ByteRange::Suffix(2001),
    ] {
        let failed = ask(vec![ByteRange::FromStart(0, Some(1)), outside]).await.unwrap_err();
        assert!(matches!(failed, StorageError::InvalidByteRangeError(_)), "{outside:?}: {failed}");
    }
    assert_eq!(ask(vec![]).await?, Some(vec![]));
    assert_eq!(ask(vec![ByteRange::FromStart(2000, None), ByteRange::Suffix(0)]).await?, Some(vec![vec![], vec![]]));
    assert_eq!(store.get_partial_many_of("none", vec![]).await?, None);
    assert_eq!(store.get_partial_many_of("none", vec![ByteRange::Suffix(1)]).await?, None);
    Ok(())
}

trait AllRanges {
    async fn get_partial_many_of(&self, key: &str, ranges: Vec<ByteRange>) -> Result<Option<Vec<Vec<u8>>>, StorageError>;
}

impl<S: zarrs_firnline::StoreSource> AllRanges for AsyncFirnlineStore<S> {
    async fn get_partial_many_of(&self, name: &str, ranges: Vec<ByteRange>) -> Result<Option<Vec<Vec<u8>>>, StorageError> {
        use futures::TryStreamExt as _;
        match self.get_partial_many(&key(name), Box::new(ranges.into_iter())).await? {
            Some(values) => values.map_ok(|value| value.to_vec()).try_collect().await.map(Some),
            None => Ok(None),
        }
    }
}
