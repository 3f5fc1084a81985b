//! Staging: chunk bytes are hashed and uploaded as they come, everything else waits in memory or on scratch space until
//! the commit.

use bytes::Bytes;

use super::WriteSession;
use super::staged::Lookup;
use crate::chunk::Hashed;
use crate::error::Result;
use crate::format::{Container, Entry};
use crate::key::{Key, Prefix};

impl WriteSession {
    /// Stages `value` under `key`.
    ///
    /// A small value goes into the manifest itself (at most 1 KiB, or 4 KiB for Zarr metadata); a larger one is hashed
    /// now and its upload begins. `Unavailable` may be about a chunk that was staged before: nothing is lost by it, the value is
    /// staged all the same, and the commit sends again what did not arrive. When it names scratch space, which large
    /// sessions need ([`OpenOptions::staged_bytes`](crate::OpenOptions::staged_bytes)), the value is not staged.
    pub async fn set(&mut self, key: &Key, value: impl Into<Bytes>) -> Result<()> {
        let value = value.into();
        if value.len() <= Entry::inline_limit(key.as_str()) {
            return self.staged.set(key, Entry::Inline(value));
        }
        let hashed = self.base.repository().chunks().hash(value).await?;
        self.set_hashed(key, hashed).await
    }

    /// Stages a chunk that was hashed elsewhere, for callers that hash many at once.
    pub(crate) async fn set_hashed(&mut self, key: &Key, hashed: Hashed) -> Result<()> {
        let entry = Entry::Chunk { id: hashed.id(), size: hashed.size() };
        // What the base holds was read from a ref, so it is safe to link without writing it again.
        if self.base.manifest().find(key.as_str()).await?.as_ref() != Some(&entry) {
            let job = self.base.repository().chunks().job(hashed);
            // Staged first: if an earlier upload is found to have failed, this one still belongs to the session.
            self.staged.set(key, entry)?;
            return self.uploads.spawn(job).await;
        }
        self.staged.set(key, entry)
    }

    /// The entry under which `key` would hold `value`, whose upload has begun if it needs one. Nothing is staged.
    pub(super) async fn stored(&mut self, key: &Key, value: Bytes) -> Result<Entry> {
        if value.len() <= Entry::inline_limit(key.as_str()) {
            return Ok(Entry::Inline(value));
        }
        let hashed = self.base.repository().chunks().hash(value).await?;
        let entry = Entry::Chunk { id: hashed.id(), size: hashed.size() };
        if self.base.manifest().find(key.as_str()).await?.as_ref() != Some(&entry) {
            let job = self.base.repository().chunks().job(hashed);
            self.uploads.spawn(job).await?;
        }
        Ok(entry)
    }

    /// Stages the removal of `key`. Says whether there is anything to remove.
    pub async fn delete(&mut self, key: &Key) -> Result<bool> {
        let present = match self.staged.lookup(key.as_map_key())? {
            Lookup::Set(_) => true,
            Lookup::Deleted => false,
            Lookup::Untouched => self.base.manifest().find(key.as_str()).await?.is_some(),
        };
        self.staged.delete(key)?;
        Ok(present)
    }

    /// Stages the removal of everything below `prefix`: also of what others have put there by the time of the commit,
    /// which is a conflict.
    pub fn delete_prefix(&mut self, prefix: &Prefix) {
        self.staged.delete_prefix(prefix);
    }

    /// Defines a container, or gives an existing one a new definition.
    ///
    /// `Invalid` when its template cannot be read back, or when it holds what looks like a secret.
    pub fn set_container(&mut self, container: Container) -> Result<()> {
        container.check()?;
        self.staged.set_container(container);
        self.naming = None;
        Ok(())
    }

    /// Waits until every chunk staged so far has reached the store.
    pub async fn flush(&mut self) -> Result<()> {
        self.uploads.finish().await
    }
}
