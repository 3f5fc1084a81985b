//! The history of one key: the commits that changed it, latest first.

use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::diff::is_other_state;
use super::log::LogEntry;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Entry, VirtualFile};
use crate::id::SnapshotId;
use crate::key::Key;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// How many commits are looked at ahead. The nodes they share are read once, so few are needed.
const AHEAD: usize = 8;

/// A commit that changed what a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyVersion {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it was committed.
    pub time: Timestamp,
    /// The first line of its message, at most 72 bytes.
    pub summary: String,
    /// What it did to the key.
    pub event: KeyEvent,
    /// What the key holds since then; `None` where it was deleted.
    pub entry: Option<Entry>,
    /// The URL of the external file, if the value is virtual.
    pub url: Option<String>,
    /// Whether it was this commit. `false`: versions before it have expired, and one of them may have done the same.
    pub is_known: bool,
}

/// What a commit did to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyEvent {
    /// Made it, or gave it another value.
    Set,
    /// Left the entry as it was, but pinned another state of its external file, or changed the definition of that file's container.
    Repinned,
    /// Deleted it.
    Deleted,
    /// It is the oldest commit that this repository has, and it has the key. Whether this commit set the key is not known.
    Present,
}

impl KeyEvent {
    /// The word for it in listings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Repinned => "repinned",
            Self::Deleted => "deleted",
            Self::Present => "present",
        }
    }
}

/// What one commit of the line holds under the key.
#[derive(Debug)]
struct KeyState {
    at: LogEntry,
    entry: Option<Entry>,
    url: Option<String>,
    file: Option<VirtualFile>,
    /// Whether versions between this and the one that is compared with it, an earlier one, have expired.
    follows_expired: bool,
}

impl KeyState {
    async fn read(snapshot: &Snapshot, at: LogEntry, key: &Key) -> Result<Self> {
        let commit = snapshot.repository().objects().commit(&at.id).await?;
        let then = Snapshot::new(snapshot.repository().clone(), at.id, commit);
        let entry = then.entry(key).await?;
        let (mut url, mut file) = (None, None);
        if let Some(name) = entry.as_ref().and_then(Entry::file) {
            url = Some(name.url(&then.record().containers)?);
            file = then.file_map().find(name.as_map_key().as_str()).await?;
        }
        Ok(Self { at, entry, url, file, follows_expired: false })
    }

    /// What this commit did to the key, if anything, `before` being its parent.
    fn event_after(&self, before: &Self) -> Option<KeyEvent> {
        if self.entry != before.entry {
            return Some(if self.entry.is_some() { KeyEvent::Set } else { KeyEvent::Deleted });
        }
        let is_repinned = match (&before.file, &self.file) {
            (Some(old), Some(new)) => is_other_state(old, new),
            _ => false,
        };
        (is_repinned || self.url != before.url).then_some(KeyEvent::Repinned)
    }

    fn into_version(self, event: KeyEvent) -> KeyVersion {
        let Self { at, entry, url, follows_expired, .. } = self;
        KeyVersion { id: at.id, time: at.time, summary: at.summary, event, entry, url, is_known: !follows_expired }
    }
}

impl Snapshot {
    /// The commits on the first-parent line, this one included, that changed what `key` holds, latest first.
    ///
    /// Reads the snapshot of each commit, and the nodes on the path to the key that neighbouring commits do not share. Reads ahead of
    /// the caller by at most 8 commits, and nothing before the first item is asked for. Ends with an error of kind `NotFound` where a
    /// shallow repository does not know what came before. Empty when the key has never existed.
    ///
    /// Versions whose data has expired are passed over, and the next later one stands for them ([`KeyVersion::is_known`]).
    pub fn key_history(&self, key: &Key) -> impl Stream<Item = Result<KeyVersion>> + Send + use<> {
        let of = Arc::new((self.clone(), key.clone()));
        let repository = self.repository().clone();
        let log = self.log();
        let log = stream::once(async move {
            let retention = repository.known_retention().await?;
            Ok::<_, Error>(log.map_ok(move |at| (retention.is_expired(at.id), at)))
        });
        let log = log.try_flatten();
        let states = log.map(move |at| {
            let of = of.clone();
            async move {
                match at? {
                    (true, _) => Ok(None),
                    (false, at) => KeyState::read(&of.0, at, &of.1).await.map(Some),
                }
            }
        });
        let states = states.buffered(AHEAD).map(Some).chain(stream::iter([None]));
        let versions = states.scan(None, |newer: &mut Option<KeyState>, older| {
            let told = match (newer.take(), older) {
                (state, Some(Ok(None))) => {
                    *newer = state.map(|state| KeyState { follows_expired: true, ..state });
                    Vec::new()
                }
                (Some(state), Some(Ok(Some(older)))) => {
                    let event = state.event_after(&older);
                    *newer = Some(older);
                    event.map(|event| vec![Ok(state.into_version(event))]).unwrap_or_default()
                }
                (None, Some(Ok(Some(older)))) => {
                    *newer = Some(older);
                    Vec::new()
                }
                // The line continues beyond the history that this repository has.
                (state, Some(Err(e))) => {
                    let known = state.filter(|state| state.entry.is_some() && e.kind() == ErrorKind::NotFound);
                    known.map(|state| Ok(state.into_version(KeyEvent::Present))).into_iter().chain([Err(e)]).collect()
                }
                // The first commit of the line.
                (state, None) => {
                    let first = state.filter(|state| state.entry.is_some());
                    let event = |state: &KeyState| if state.follows_expired { KeyEvent::Present } else { KeyEvent::Set };
                    first
                        .map(|state| Ok((event(&state), state)))
                        .map(|first| first.map(|(event, state)| state.into_version(event)))
                        .into_iter()
                        .collect()
                }
            };
            futures::future::ready(Some(stream::iter(told)))
        });
        versions.flatten()
    }
}
