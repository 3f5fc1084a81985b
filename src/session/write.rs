//! Staging: chunk bytes are hashed and uploaded as they come, everything else waits in memory or on scratch space until
//! the commit.

use bytes::Bytes;

use super::WriteSession;
use super::copy::{ATTEMPTS, busy};
use super::staged::Lookup;
use crate::budget::Share;
use crate::chunk::Hashed;
use crate::error::Result;
use crate::format::{Container, Entry};
use crate::key::{Key, Prefix};
use crate::snapshot::KeyOrPrefix;
use crate::storage::ObjectName;

impl WriteSession {
    /// Stages `value` under `key`.
    ///
    /// A small value goes into the manifest itself (at most 1 KiB, or 4 KiB for Zarr metadata); a larger one is hashed
    /// now and its upload begins. Waits while uploads take all of [`OpenOptions::upload_bytes`](crate::OpenOptions::upload_bytes),
    /// and while staged changes that take more than [`OpenOptions::staged_bytes`](crate::OpenOptions::staged_bytes) are
    /// being moved to scratch space.
    ///
    /// After an error this value is not staged, and everything staged before is intact. `Unavailable` may be about a chunk
    /// that was staged before and takes the room this one needs: it is kept and sent again by the next call that needs its room, by
    /// [`flush`](Self::flush) and by the commit. `Unavailable` that names scratch space is about the changes that do not
    /// fit into memory.
    ///
    /// If the future is dropped, the value is not staged; an upload that has begun goes on.
    pub async fn set(&self, key: &Key, value: impl Into<Bytes>) -> Result<()> {
        let value = value.into();
        if value.len() <= Entry::inline_limit(key.as_str()) {
            return self.staged.put(key.as_map_key().clone(), Some(Entry::Inline(value))).await;
        }
        let hashed = self.base.repository().chunks().hash(value).await?;
        self.set_hashed(key, hashed, None).await
    }

    /// Stages `value` under `key` unless there is a value, staged or in the base. Says whether it was staged. A value that another call
    /// stages at the same time is not replaced.
    ///
    /// `Conflict` when other calls go on staging and deleting the key. Otherwise as [`set`](Self::set). The key may still have been set
    /// by another writer of the branch: the commit tells.
    pub async fn set_if_absent(&self, key: &Key, value: impl Into<Bytes>) -> Result<bool> {
        let (value, mut stored) = (value.into(), None);
        for _ in 0..ATTEMPTS {
            let watch = self.staged.lock().watch(vec![KeyOrPrefix::Key(key.clone())]);
            if self.entry(key).await?.is_some() {
                return Ok(false);
            }
            self.staged.make_room().await?;
            let entry = match stored.take() {
                Some(entry) => entry,
                None => self.stored_value(key, value.clone()).await?,
            };
            let mut staged = self.staged.lock();
            if !watch.is_touched() {
                staged.insert(key.as_map_key().clone(), Some(entry));
                return Ok(true);
            }
            stored = Some(entry);
        }
        Err(busy(key.as_str()))
    }

    /// Stages a chunk that was hashed elsewhere, for callers that hash many at once. They may have taken its share of the
    /// upload budget already.
    pub(crate) async fn set_hashed(&self, key: &Key, hashed: Hashed, share: Option<Share>) -> Result<()> {
        self.staged.make_room().await?;
        let entry = self.stored(key, hashed, share).await?;
        // There is no `await` between the start of the upload and this line, so a cancelled call does not separate them.
        self.staged.lock().insert(key.as_map_key().clone(), Some(entry));
        Ok(())
    }

    /// The entry under which `key` would hold a chunk, whose upload has begun if it needs one. Nothing is staged.
    async fn stored(&self, key: &Key, hashed: Hashed, share: Option<Share>) -> Result<Entry> {
        let entry = Entry::Chunk { id: hashed.id(), size: hashed.size() };
        // What the base holds was read from a ref, so it is safe to link without writing it again.
        if self.stores && self.base.entry(key).await?.as_ref() != Some(&entry) {
            self.upload_chunk(hashed, share).await?;
        }
        Ok(entry)
    }

    /// Begins the upload of a chunk, when there is room for it.
    pub(crate) async fn upload_chunk(&self, hashed: Hashed, share: Option<Share>) -> Result<()> {
        let share = match share {
            Some(share) => {
                self.uploads.turn().await;
                share
            }
            None => self.uploads.reserve(hashed.object_len()).await?,
        };
        let (name, job) = (ObjectName::chunk(&hashed.id()), self.base.repository().chunks().job(hashed));
        self.uploads.send(&name, share, move || {
            let attempt = job();
            async move { Ok(attempt.await?) }
        });
        Ok(())
    }

    /// The entry under which `key` would hold `value`, whose upload has begun if it needs one. Nothing is staged.
    pub(super) async fn stored_value(&self, key: &Key, value: Bytes) -> Result<Entry> {
        if value.len() <= Entry::inline_limit(key.as_str()) {
            return Ok(Entry::Inline(value));
        }
        let hashed = self.base.repository().chunks().hash(value).await?;
        self.stored(key, hashed, None).await
    }

    /// Stages the removal of `key`. Says whether there is anything to remove.
    ///
    /// Where there is nothing, nothing is staged: the commit does not conflict with a writer who creates the key in the
    /// meantime, and does not delete it.
    ///
    /// After an error, or if the future is dropped, the session is as it was.
    pub async fn delete(&self, key: &Key) -> Result<bool> {
        let present = match self.staged.lookup(key.as_map_key())? {
            Lookup::Set(_) => true,
            Lookup::Deleted => false,
            Lookup::Untouched => self.base.entry(key).await?.is_some(),
        };
        if present {
            self.staged.put(key.as_map_key().clone(), None).await?;
        }
        Ok(present)
    }

    /// Stages the removal of everything below `prefix`. A key that another writer sets there before the commit is a conflict.
    pub fn delete_prefix(&self, prefix: &Prefix) {
        self.staged.lock().delete_prefix(prefix);
    }

    /// Defines a container, or gives an existing one a new definition.
    ///
    /// `Invalid` when its template cannot be read back, or when it holds what looks like a secret.
    pub fn set_container(&self, container: Container) -> Result<()> {
        container.check()?;
        // One after the other with `name_of`, so that no name comes from the old definition.
        let mut naming = self.naming();
        self.staged.lock().set_container(container, &self.base.record().containers);
        *naming = None;
        Ok(())
    }

    /// Waits until the store has acknowledged every chunk staged so far, after sending again those whose upload failed. Durable after
    /// the commit.
    ///
    /// An error is that of one upload. All chunks that the store has not acknowledged are kept, and the next call sends them again. The
    /// same holds if the future is dropped.
    pub async fn flush(&self) -> Result<()> {
        self.uploads.finish().await
    }
}
