//! Sessions that several processes write together: forks, their changes, and what both say of the session they come from.

mod load;
mod save;
#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::sync::Mutex;

use bytes::Bytes;

use self::load::DocumentRead;
use self::save::DocumentSaver;
use super::staged::SharedStaged;
use super::{KnownEpoch, PublishHandle, WriteSession};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ForkDocument, ForkKind, ForkOrigin};
use crate::handle::Repository;
use crate::objects::Uploads;
use crate::refs::{Ref, RefRecord, RefState};
use crate::snapshot::Snapshot;
use crate::storage::Version;

pub(crate) use load::{ChangesRead, unplaced};

/// A part of a session, in another process or on another machine: it reads and stages like the session that it was taken from, and
/// gives its changes back to it.
///
/// Dereferences to [`WriteSession`], so it has all methods of a session that take `&self`: those that read and those that stage, and
/// [`fork`](WriteSession::fork) and [`merge`](WriteSession::merge) for forks of its own. It cannot be committed: methods that commit
/// take the session itself, which a fork never gives away. Only [`finish`](Self::finish) brings its changes anywhere.
///
/// It sees what the session had staged when the fork was taken, and its own changes. It does not see what the session, or another
/// fork, stages later.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use firnline::{Key, Repository};
///
/// let repository = Repository::create("memory:").await?;
/// let session = repository.write("main").await?;
/// session.set(&Key::new("a/zarr.json")?, r#"{"zarr_format":3,"node_type":"group"}"#).await?;
/// let bytes = session.fork().await?;
///
/// // In another process, with the same repository:
/// let fork = repository.resume_fork(&bytes).await?;
/// fork.set(&Key::new("a/c/0")?, vec![7; 5000]).await?;
/// let changes = fork.finish().await?;
///
/// // In the first process again:
/// session.merge(&changes).await?;
/// let snapshot = session.commit("by two processes").await?;
/// assert_eq!(snapshot.get(&Key::new("a/c/0")?).await?.unwrap().len(), 5000);
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0507
/// async fn commits(fork: firnline::ForkSession) {
///     fork.commit("a fork").await;
/// }
/// ```
#[derive(Debug)]
#[must_use = "the changes of a fork are lost unless `finish` is called and its parent merges them"]
pub struct ForkSession {
    session: WriteSession,
}

impl Deref for ForkSession {
    type Target = WriteSession;

    fn deref(&self) -> &WriteSession {
        &self.session
    }
}

/// For code that reads and stages in sessions and forks alike.
impl AsRef<WriteSession> for ForkSession {
    fn as_ref(&self) -> &WriteSession {
        &self.session
    }
}

/// For code that reads and stages in sessions and forks alike.
impl AsRef<WriteSession> for WriteSession {
    fn as_ref(&self) -> &WriteSession {
        self
    }
}

impl ForkSession {
    /// Whether anything was staged here beside what the fork inherited, so that its changes have to be merged.
    pub fn has_changes(&self) -> bool {
        let copy = self.session.staged.copied();
        let is_known_alone = copy.files == copy.inherited_files && copy.containers == copy.inherited_containers;
        !(copy.own.is_empty() && copy.moves.all().is_empty() && is_known_alone)
    }

    /// Waits until all chunks of the fork are durable, and returns its changes as bytes, for [`merge`](WriteSession::merge) in the
    /// session that it was taken from.
    ///
    /// The changes are those of the fork alone, without what it inherited. Few of them are in the bytes, at most 64 KiB; many are
    /// stored in the repository as chunks, and the bytes name them: about 50 bytes for each 512 KiB. Unless they are merged they stay
    /// as unreferenced garbage.
    ///
    /// An error is that of one upload, or of the store when it makes objects durable. After that of an upload, or after the future was
    /// dropped, the fork has everything still, and the call can be repeated. If a local disk could not make the objects durable, every
    /// further call fails too: their bytes were given to the disk, and the fork has them no more. Then do its work again in a fork
    /// resumed from the same description. `Invalid` when too much was staged for one document: 65,536 blocks of 512 KiB, 65,536 moves,
    /// or a container whose definition takes more than 1 MiB; and when a container was removed, or external files were moved or given
    /// other names.
    ///
    /// The call can be made again after more was staged; then merge only what the last call returned.
    pub async fn finish(&self) -> Result<Bytes> {
        let session = &self.session;
        let copy = session.staged.copied();
        let mut saver = DocumentSaver::new(session);
        saver.add_changes(&copy).await?;
        let pieces = saver.finish();
        session.uploads.finish().await?;
        session.base.repository().storage().barrier().await?;
        let origin = session.origin();
        // What the fork touched is in its rows: whoever merges them stages them.
        let known = session.known.get();
        Ok(ForkDocument { kind: ForkKind::Changes, origin, known, touched: Vec::new(), state: None, pieces }.encode().into())
    }
}

impl WriteSession {
    /// Describes the session as bytes, from which another process makes a [`ForkSession`] by
    /// [`resume_fork`](Repository::resume_fork). Any number of forks can be made from the same bytes. They share nothing: a key that
    /// two of them set to different values is a conflict when they are merged.
    ///
    /// The fork reads what is staged here now. So the call waits until the store has acknowledged every chunk staged so far, after
    /// sending again those whose upload failed. Few changes are in the bytes, at most 64 KiB; many are stored in the repository as
    /// chunks, and stay there as unreferenced garbage. The bytes hold no credentials: the other process opens the repository with its
    /// own.
    ///
    /// `Invalid` for a [dry run](Repository::dry_run), whose chunks are stored nowhere, and when too much is staged for one document:
    /// 65,536 blocks of 512 KiB, or a container whose definition takes more than 1 MiB; and when a container was removed, or external
    /// files were moved or given other names, which is committed without forks. The session is as it was after every call,
    /// also after an error and if the future is dropped.
    pub async fn fork(&self) -> Result<Bytes> {
        if !self.stores {
            return Err(Error::invalid("a dry run cannot be forked: its chunks were not stored"));
        }
        let copy = self.staged.copied();
        let mut saver = DocumentSaver::new(self);
        saver.add_state(&copy).await?;
        let pieces = saver.finish();
        self.uploads.finish().await?;
        let state = Some((self.state.record.encode(), self.state.version.0.clone()));
        let (origin, known) = (self.origin(), self.known.get());
        Ok(ForkDocument { kind: ForkKind::Fork, origin, known, touched: Vec::new(), state, pieces }.encode().into())
    }

    /// What this session has in common with its forks.
    fn origin(&self) -> ForkOrigin {
        ForkOrigin {
            created: self.base.repository().created(),
            branch: self.branch.name.to_string(),
            base: self.base.id(),
            seq: self.state.record.seq,
            epoch: self.state.record.epoch,
        }
    }

    /// Reads the changes of a fork, which must be one of this session: `Invalid` otherwise. Nothing is staged.
    pub(crate) async fn read_changes(&self, changes: &[u8]) -> Result<ChangesRead> {
        let document = ForkDocument::decode(changes, ForkKind::Changes)?;
        self.base.repository().require_same(&document)?;
        let (theirs, ours) = (&document.origin, self.origin());
        let wrong = |what: String| Err(Error::invalid(format!("the changes are not those of a fork of this session: {what}")));
        if theirs.branch != ours.branch {
            return wrong(format!("they belong on branch {}, the session on {}", crate::text::shown(&theirs.branch), ours.branch));
        }
        if theirs.base != ours.base {
            return wrong(format!("they were made on snapshot {}, the session is based on {}", theirs.base, ours.base));
        }
        // Before anything of it can be staged.
        self.known.lower(document.known);
        let loaded = DocumentRead::read(self.base.repository(), &self.staged, ForkKind::Changes, document.pieces).await;
        loaded.map(ChangesRead::from).map_err(|e| e.context(ForkKind::Changes.words()))
    }
}

impl Repository {
    /// Refuses a document of another repository, and one that lists objects that are in none of its rows.
    fn require_same(&self, document: &ForkDocument) -> Result<()> {
        let (theirs, ours) = (document.origin.created, self.created());
        let words = document.kind.words();
        if theirs != ours || document.origin.base.digest().hash() != self.hash() {
            let (hash, own) = (document.origin.base.digest().hash(), self.hash());
            let differs = if theirs == ours {
                format!("its hash is {hash}, that of this one {own}")
            } else {
                format!("it was created at {theirs}, this one at {ours}")
            };
            return Err(Error::invalid(format!("another repository wrote {words}: {differs}")));
        }
        if !document.touched.is_empty() {
            return Err(Error::unsupported(format!(
                "{words} name {} objects beside their rows, which this build does not know how to keep; upgrade",
                document.touched.len()
            )));
        }
        Ok(())
    }

    /// Opens a fork of a session of this repository, which [`WriteSession::fork`] described, mostly in another process.
    ///
    /// The bytes may come from anywhere: `Corrupt` when they are damaged or something else, `Unsupported` when a newer version wrote
    /// them, `Invalid` when they describe a session of another repository or are the changes of a fork. `NotFound` when the
    /// repository does not hold what they name. Whoever can make such bytes can make the fork read anything in the repository.
    ///
    /// Only reads, so the call can be cancelled at any moment.
    pub async fn resume_fork(&self, fork: &[u8]) -> Result<ForkSession> {
        let document = ForkDocument::decode(fork, ForkKind::Fork)?;
        self.require_same(&document)?;
        self.require_writable()?;
        let context = |e: Error| e.context(ForkKind::Fork.words());
        let (branch, state) = state_of(&document).map_err(context)?;
        let id = document.origin.base;
        let read = async { self.objects().commit(&id).await.map_err(context) };
        let (commit, collection) = futures::try_join!(read, self.refs().collection())?;
        let known = KnownEpoch::new(document.known.min(collection.state.finished()));
        let base = Snapshot::new(self.clone(), id, commit);
        let staged = SharedStaged::new(self.empty_staging());
        let loaded = DocumentRead::read(self, &staged, ForkKind::Fork, document.pieces).await.map_err(context)?;
        loaded.inherit(&staged, &base.record().containers).map_err(context)?;
        let session = WriteSession {
            branch,
            base,
            state,
            known,
            staged,
            uploads: Uploads::new(self.objects()),
            stores: true,
            naming: Mutex::default(),
            merging: tokio::sync::Mutex::default(),
            publishing: PublishHandle::default(),
            applied: None,
            rescued: std::collections::BTreeMap::new(),
        };
        Ok(ForkSession { session })
    }
}

/// The branch of a fork, and the state in which its parent read it.
fn state_of(document: &ForkDocument) -> Result<(Ref, RefState)> {
    let ForkDocument { origin, state, .. } = document;
    let Some((record, version)) = state else { return Err(Error::corrupt("the state of the branch is missing")) };
    let name = origin.branch.parse().map_err(|e: Error| Error::corrupt(e.to_string()))?;
    let branch = Ref::branch(name);
    let decoded = RefRecord::decode(record, &format!("the state of {branch}"))?;
    if (decoded.seq, decoded.epoch, decoded.tip) != (origin.seq, origin.epoch, Some(origin.base)) || decoded.encode() != *record {
        return Err(Error::corrupt(format!("the state of {branch} is another than the one on which the changes are staged")));
    }
    Ok((branch, RefState { record: decoded, version: Version(version.clone()) }))
}

/// What a stranger's value is refused for is damage in a document.
fn as_corrupt(error: Error) -> Error {
    if error.kind() == ErrorKind::Invalid { Error::corrupt(error.to_string()) } else { error }
}
