//! Writing into a session, in the words of zarrs, for the stores of both kinds.

use bytes::Bytes;
use firnline::{Error, Key, WriteSession};
use zarrs_storage::{StorageError, StoreKey, StorePrefix};

use crate::error::storage_error;
use crate::read::{key_of, prefix_of};

pub(crate) async fn set(session: &WriteSession, key: &StoreKey, value: Bytes) -> Result<(), StorageError> {
    let key = Key::new(key.as_str()).map_err(storage_error)?;
    session.set(&key, value).await.map_err(storage_error)
}

/// Reads the whole value, changes parts of it, and stages all of it again. Where there is no value, it begins empty; gaps are zeros.
///
/// Of two such calls at once, one may lose its parts.
pub(crate) async fn set_parts(session: &WriteSession, key: &StoreKey, parts: Vec<(u64, Bytes)>) -> Result<(), StorageError> {
    let key = Key::new(key.as_str()).map_err(storage_error)?;
    let old = session.get(&key).await.map_err(storage_error)?.unwrap_or_default();
    let mut value = Vec::from(old);
    for (offset, part) in parts {
        overwrite(&mut value, offset, &part).ok_or_else(|| {
            let what = format!("{} bytes at {offset} of {key} are more than this machine's memory holds", part.len());
            storage_error(Error::unsupported(what))
        })?;
    }
    session.set(&key, value).await.map_err(storage_error)
}

/// Writes `part` over the bytes from `offset` on, and zeros before them where there are none; `None` if there is no memory for it.
fn overwrite(value: &mut Vec<u8>, offset: u64, part: &[u8]) -> Option<()> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(part.len())?;
    if end > value.len() {
        value.try_reserve(end - value.len()).ok()?;
        value.resize(end, 0);
    }
    value.get_mut(start..end)?.copy_from_slice(part);
    Some(())
}

pub(crate) async fn erase(session: &WriteSession, key: &StoreKey) -> Result<(), StorageError> {
    let Some(key) = key_of(key) else { return Ok(()) };
    session.delete(&key).await.map(drop).map_err(storage_error)
}

pub(crate) fn erase_prefix(session: &WriteSession, prefix: &StorePrefix) {
    if let Some(prefix) = prefix_of(prefix) {
        session.delete_prefix(&prefix);
    }
}
