//! Reading and listing, in the words of zarrs, for the stores of both kinds.

use bytes::Bytes;
use firnline::{Child, Key, Prefix};
use zarrs_storage::byte_range::ByteRange;
use zarrs_storage::{MaybeBytes, StorageError, StoreKey, StoreKeys, StoreKeysPrefixes, StorePrefix};

use crate::error::storage_error;
use crate::range::resolve;
use crate::source::StoreSource;

/// The key in the repository. `None` if a repository can have no such key: it is absent.
pub(crate) fn key_of(key: &StoreKey) -> Option<Key> {
    Key::new(key.as_str()).ok()
}

/// The prefix in the repository. `None` if a repository can have nothing below it.
pub(crate) fn prefix_of(prefix: &StorePrefix) -> Option<Prefix> {
    Prefix::new(prefix.as_str()).ok()
}

pub(crate) async fn get(source: &impl StoreSource, key: &StoreKey) -> Result<MaybeBytes, StorageError> {
    let Some(key) = key_of(key) else { return Ok(None) };
    source.value(&key).await.map_err(storage_error)
}

/// The bytes of each range, in their order; `None` if there is no such key.
///
/// Sizes and bytes are those of one entry, whatever is staged meanwhile, and neighbouring ranges are read together. The size comes from
/// the manifest: no suffix is asked of a store.
pub(crate) async fn get_ranges(
    source: &impl StoreSource,
    key: &StoreKey,
    ranges: &[ByteRange],
) -> Result<Option<Vec<Bytes>>, StorageError> {
    let Some(key) = key_of(key) else { return Ok(None) };
    let Some(entry) = source.entry(&key).await.map_err(storage_error)? else { return Ok(None) };
    let parts = ranges.iter().map(|range| Ok((key.clone(), Some(entry.clone()), resolve(*range, entry.size())?)));
    let parts = parts.collect::<Result<Vec<_>, StorageError>>()?;
    Ok(source.ranges(&parts).await.map_err(storage_error)?.into_iter().collect())
}

pub(crate) async fn size_key(source: &impl StoreSource, key: &StoreKey) -> Result<Option<u64>, StorageError> {
    let Some(key) = key_of(key) else { return Ok(None) };
    Ok(source.entry(&key).await.map_err(storage_error)?.map(|entry| entry.size()))
}

/// Every key below `prefix`, sorted bytewise.
pub(crate) async fn list(source: &impl StoreSource, prefix: &StorePrefix) -> Result<StoreKeys, StorageError> {
    let Some(prefix) = prefix_of(prefix) else { return Ok(Vec::new()) };
    let mut keys = Vec::new();
    source.visit(&prefix, |key, _| keys.push(key)).await.map_err(storage_error)?;
    let mut keys = keys.iter().map(store_key).collect::<Result<StoreKeys, _>>()?;
    keys.sort_unstable();
    Ok(keys)
}

/// The keys and prefixes directly below `prefix`, each sorted bytewise.
pub(crate) async fn list_dir(source: &impl StoreSource, prefix: &StorePrefix) -> Result<StoreKeysPrefixes, StorageError> {
    let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
    if let Some(prefix) = prefix_of(prefix) {
        for child in source.children(&prefix).await.map_err(storage_error)? {
            match child {
                Child::Key(key, _) => keys.push(store_key(&key)?),
                Child::Directory(directory) => prefixes.push(StorePrefix::new(directory.as_str())?),
            }
        }
    }
    keys.sort_unstable();
    prefixes.sort_unstable();
    Ok(StoreKeysPrefixes::new(keys, prefixes))
}

/// The sum of the sizes of all values below `prefix`, in bytes.
pub(crate) async fn size_prefix(source: &impl StoreSource, prefix: &StorePrefix) -> Result<u64, StorageError> {
    let Some(prefix) = prefix_of(prefix) else { return Ok(0) };
    let mut total = 0_u64;
    source.visit(&prefix, |_, entry| total = total.saturating_add(entry.size())).await.map_err(storage_error)?;
    Ok(total)
}

fn store_key(key: &Key) -> Result<StoreKey, StorageError> {
    Ok(StoreKey::new(key.as_str())?)
}
