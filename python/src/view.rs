//! What a store reads from: a snapshot, or a session with changes that are not committed.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use firnline::{Child, Entry, Error, ForkSession, Key, Prefix, Result, Snapshot, SnapshotId, WriteSession};
use futures::TryStreamExt as _;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

/// The state of a writable session. Calls that read or stage share it; a commit has it alone.
pub(crate) enum Staging {
    /// Changes can be staged.
    Open(WriteSession),
    /// The same in a fork, which cannot be committed.
    Fork(ForkSession),
    /// The changes were committed as this snapshot.
    Committed(Snapshot),
    /// The changes are gone, for this reason.
    Lost(&'static str),
}

/// A session as the store's calls find it.
#[derive(Clone)]
pub(crate) enum Live {
    Reading(Snapshot),
    Writing(Arc<RwLock<Staging>>),
}

/// A session for the time of one call.
pub(crate) enum View {
    Snapshot(Snapshot),
    Session(OwnedRwLockReadGuard<Staging, WriteSession>),
}

impl Live {
    /// What calls read from. Waits for a commit that is under way.
    pub(crate) async fn view(self) -> Result<View> {
        let staging = match self {
            Self::Reading(snapshot) => return Ok(View::Snapshot(snapshot)),
            Self::Writing(staging) => staging.read_owned().await,
        };
        match &*staging {
            Staging::Committed(snapshot) => Ok(View::Snapshot(snapshot.clone())),
            Staging::Lost(why) => Err(Error::invalid(*why)),
            Staging::Open(_) | Staging::Fork(_) => Ok(View::Session(opened(staging)?)),
        }
    }

    /// The session in which calls stage; `Invalid` if there is none.
    pub(crate) async fn session(self) -> Result<OwnedRwLockReadGuard<Staging, WriteSession>> {
        let Self::Writing(staging) = self else { return Err(Error::invalid("the session is read-only; open a writable one")) };
        opened(staging.read_owned().await)
    }
}

fn opened(staging: OwnedRwLockReadGuard<Staging>) -> Result<OwnedRwLockReadGuard<Staging, WriteSession>> {
    let session = OwnedRwLockReadGuard::try_map(staging, |staging| match staging {
        Staging::Open(session) => Some(session),
        Staging::Fork(fork) => Some(&**fork),
        Staging::Committed(_) | Staging::Lost(_) => None,
    });
    session.map_err(|staging| match &*staging {
        Staging::Lost(why) => Error::invalid(*why),
        Staging::Open(_) | Staging::Fork(_) | Staging::Committed(_) => {
            Error::invalid("the session was committed and is read-only now; open another one")
        }
    })
}

/// Which bytes of a value are asked for. What lies past its end is left out, as Zarr's stores do it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    All,
    /// From the first up to the second.
    Range(u64, u64),
    /// The last so many.
    Suffix(u64),
}

impl Part {
    fn of(self, size: u64) -> Range<u64> {
        match self {
            Self::All => 0..size,
            Self::Range(start, end) => start.min(size)..end.min(size).max(start.min(size)),
            Self::Suffix(length) => size.saturating_sub(length)..size,
        }
    }
}

impl View {
    /// The snapshot that is read, or on which changes are staged.
    pub(crate) fn base(&self) -> SnapshotId {
        match self {
            Self::Snapshot(snapshot) => snapshot.id(),
            Self::Session(session) => session.base().id(),
        }
    }

    pub(crate) async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        match self {
            Self::Snapshot(snapshot) => snapshot.entry(key).await,
            Self::Session(session) => session.entry(key).await,
        }
    }

    async fn entries(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        match self {
            Self::Snapshot(snapshot) => snapshot.entries(keys).await,
            Self::Session(session) => session.entries(keys).await,
        }
    }

    /// The bytes of a part of a value; `None` when there is no such key.
    pub(crate) async fn get(&self, key: &Key, part: Part) -> Result<Option<Bytes>> {
        if let Part::All = part {
            return match self {
                Self::Snapshot(snapshot) => snapshot.get(key).await,
                Self::Session(session) => session.get(key).await,
            };
        }
        Ok(self.get_parts(vec![(key.clone(), part)]).await?.pop().flatten())
    }

    /// The bytes of each part, in their order. Each is of one value, whatever other calls stage meanwhile.
    pub(crate) async fn get_parts(&self, parts: Vec<(Key, Part)>) -> Result<Vec<Option<Bytes>>> {
        let keys: Vec<Key> = parts.iter().map(|(key, _)| key.clone()).collect();
        let found = self.entries(&keys).await?;
        let known = parts.into_iter().zip(found).map(|((key, part), entry)| {
            let range = part.of(entry.as_ref().map_or(0, Entry::size));
            (key, entry, range)
        });
        let known: Vec<_> = known.collect();
        match self {
            Self::Snapshot(snapshot) => snapshot.get_ranges_of(&known).await,
            Self::Session(session) => session.get_ranges_of(&known).await,
        }
    }

    /// Every key below a prefix and what is stored under it, in the order of the maps.
    pub(crate) async fn list(&self, prefix: &Prefix) -> Result<Vec<(Key, Entry)>> {
        match self {
            Self::Snapshot(snapshot) => snapshot.list(prefix).try_collect().await,
            Self::Session(session) => session.list(prefix).await,
        }
    }

    /// What lies directly below a prefix.
    pub(crate) async fn children(&self, prefix: &Prefix) -> Result<Vec<Child>> {
        match self {
            Self::Snapshot(snapshot) => snapshot.children(prefix).await,
            Self::Session(session) => session.children(prefix).await,
        }
    }
}
