//! Removing objects, under a lock that dies with its holder.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::filesystem::is_local_disk;
use super::register::{HeldLock, try_lock};
use super::{Disk, NetworkFileSystems, lock};
use crate::error::{Error, Result};

/// The file whose holder collects garbage. It is neither an object nor a register and is never removed or renamed.
pub(super) const COLLECTION_LOCK: &str = "gc/.lock";

/// How long after it was sent a request to the server of a file system may still be carried out.
const LATE: Duration = Duration::from_mins(5);

impl Disk {
    /// Takes the lock of a collection. `Locked` when a collection is under way, of another process or of this one.
    pub(super) fn lock_collection(&self) -> Result<Arc<HeldLock>> {
        let path = self.path(COLLECTION_LOCK);
        let directory = path.parent().expect("the path of a lock is longer than the root's");
        self.look()?;
        self.directory_for_register(COLLECTION_LOCK, directory)?;
        self.require_same_place(COLLECTION_LOCK)?;
        match try_lock(&path) {
            Ok(Some(held)) => {
                let held = Arc::new(held);
                *lock(&self.collecting) = Arc::downgrade(&held);
                Ok(held)
            }
            Ok(None) => {
                let holder = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok());
                let holder = holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
                Err(Error::locked(format!("{holder} collects garbage in {} at this moment", self.root.display())))
            }
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                Err(Error::unsupported(format!("{} lies on a file system without locks", self.root.display())).caused_by(e))
            }
            Err(e) => Err(self.trouble(COLLECTION_LOCK, "be locked", e)),
        }
    }

    /// How late a removal may be: a file system that is trusted although another machine answers for it may repeat requests.
    pub(super) fn late_removals(&self) -> Duration {
        let is_trusted = self.options.network == NetworkFileSystems::Trust && !is_local_disk(&self.root);
        if is_trusted { LATE } else { Duration::ZERO }
    }

    /// The lock of the collection that this handle carries out.
    pub(super) fn collection_lock(&self) -> Option<Arc<HeldLock>> {
        lock(&self.collecting).upgrade()
    }

    /// Removes an object. The directory stays: other handles rely on its being there.
    pub(super) fn delete(&self, name: &str) -> Result<()> {
        self.look()?;
        self.require_real_directories(name)?;
        match fs::remove_file(self.path(name)) {
            Ok(()) => Ok(()),
            Err(e) => self.absent(name, e),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::TryStreamExt as _;

    use crate::error::ErrorKind;
    use crate::storage::{Local, LocalOptions, RemovalPermit, Storage as _};

    #[tokio::test]
    async fn one_process_collects_at_a_time_and_its_lock_is_no_object() {
        let place = tempfile::tempdir().unwrap();
        let open = || Local::open(place.path(), LocalOptions::default()).unwrap();
        let (one, other) = (open(), open());
        let name = crate::storage::tests::put(&one, b"an object").await;
        let held = one.collecting().await.unwrap();
        assert!(held.lock.is_some() && held.late.is_zero());
        let refused = other.collecting().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Locked);
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        let listed: Vec<_> = one.list("").try_collect().await.unwrap();
        assert_eq!(listed.iter().map(|meta| meta.name.as_str()).collect::<Vec<_>>(), [name.as_str()], "the lock is no object");
        drop(held);
        assert!(other.collecting().await.is_ok());
    }

    /// The caller of a removal may stop waiting while a thread carries it out: the lock must not be free before the thread has ended.
    #[tokio::test]
    async fn a_removal_holds_the_lock_itself() {
        let place = tempfile::tempdir().unwrap();
        let store = Local::open(place.path(), LocalOptions::default()).unwrap();
        crate::storage::tests::put(&store, b"an object").await;
        let held = store.collecting().await.unwrap();
        let by_the_work = store.disk.collection_lock().unwrap();
        drop(held);
        assert_eq!(store.collecting().await.unwrap_err().kind(), ErrorKind::Locked);
        drop(by_the_work);
        assert!(store.disk.collection_lock().is_none());
        assert!(store.collecting().await.is_ok());
    }

    #[tokio::test]
    async fn a_removed_object_can_be_put_again_by_a_handle_that_had_put_it() {
        let place = tempfile::tempdir().unwrap();
        let store = Local::open(place.path(), LocalOptions::default()).unwrap();
        let other = Local::open(place.path(), LocalOptions::default()).unwrap();
        let name = crate::storage::tests::put(&store, b"an object").await;
        store.barrier().await.unwrap();
        assert!(other.delete_many(std::slice::from_ref(&name), &RemovalPermit::endless()).await.iter().all(Result::is_ok));
        store.put(&name, &[Bytes::from_static(b"an object")]).await.unwrap();
        store.barrier().await.unwrap();
        assert!(other.get(&name, crate::storage::Extent::ANY_LENGTH).await.unwrap().is_some());
    }
}
