//! Making a repository: `repo.json`, an empty root snapshot, and `main` on it.

use std::collections::BTreeMap;
use std::future::ready;
use std::path::Path;
use std::sync::Arc;

use futures::{TryStreamExt, stream};

use crate::blocking::blocking;
use crate::commit::with_roots;
use crate::error::{Error, ErrorDetail, Result};
use crate::format::{Commit, Entry, HistoryEntry, Leaf, Node, RepoConfig, SnapshotObject, VirtualFile};
use crate::handle::{CreateOptions, OpenOptions, Repository};
use crate::id::{HashAlgorithm, SnapshotId};
use crate::key::MapKey;
use crate::map::build;
use crate::objects::Uploads;
use crate::refs::collection::{GcState, collection_in};
use crate::refs::{MAIN, MoveOp, MoveTo, Ref, RefKind, Refs, is_unreadable};
use crate::storage::url::StoragePlace;
use crate::storage::{self, Expected, RegisterName, Replaced, Storage, layout};
use crate::time::{Clock, Timestamp, recordable};

/// The message of the snapshot with which every repository begins.
const FIRST_MESSAGE: &str = "an empty repository";

/// Refuses a path on which no repository can be made.
fn require_real_place(path: &Path) -> Result<()> {
    storage::require_no_dangling_link(path)?;
    storage::require_outside(path)
}

fn lost_main(storage: &Arc<dyn Storage>) -> Error {
    let error = Error::conflict(format!("{storage} holds a repository already, whose branch main was lost"));
    error.about(ErrorDetail::LostMain)
}

/// Refuses a place in which garbage is being collected.
fn require_idle(storage: &Arc<dyn Storage>, collection: &GcState) -> Result<()> {
    if collection.is_running() {
        return Err(Error::unavailable(format!("garbage is being collected in {storage}; try again")));
    }
    Ok(())
}

/// A clock that stands still.
#[derive(Debug)]
struct Stopped(Timestamp);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// Reads `repo.json`; `None` when it does not exist and nothing else says that there is a repository.
async fn load_config(storage: &Arc<dyn Storage>) -> Result<Option<RepoConfig>> {
    if let Some(config) = read_config(storage).await? {
        return Ok(Some(config));
    }
    let Some(error) = lost_config(storage).await? else { return Ok(None) };
    // The repository may have been made in between.
    read_config(storage).await?.map(Some).ok_or(error)
}

/// Reads `repo.json`; `None` when it does not exist.
pub(super) async fn read_config(storage: &Arc<dyn Storage>) -> Result<Option<RepoConfig>> {
    match storage.load(&RegisterName::repo()).await? {
        Some(found) => RepoConfig::decode(&found.value).map(Some).map_err(|e| e.context(storage)),
        None => Ok(None),
    }
}

/// The error of a store that holds refs or snapshots, none of which is ever written before `repo.json`.
pub(super) async fn lost_config(storage: &Arc<dyn Storage>) -> Result<Option<Error>> {
    let mut refs = storage.list(layout::REFS).try_filter(|meta| ready(meta.name.ends_with(layout::REF_SUFFIX)));
    let mut snapshots = storage.list(layout::SNAPSHOTS).try_filter_map(|meta| {
        let name = meta.name.rsplit('/').next().unwrap_or_default();
        ready(Ok(name.parse::<SnapshotId>().ok()))
    });
    let (a_ref, snapshot) = futures::try_join!(refs.try_next(), snapshots.try_next())?;
    if a_ref.is_none() && snapshot.is_none() {
        return Ok(None);
    }
    let hash = snapshot.map(|id| id.digest().hash().name());
    let told = hash.map_or(String::new(), |hash| format!(" (the hash of its snapshots is {hash})"));
    let error = Error::conflict(format!("{storage} holds refs or snapshots of a repository whose repo.json was lost{told}; restore it"));
    Ok(Some(error.about(ErrorDetail::LostConfig { hash })))
}

/// Writes `repo.json`, or reads that of another process that was first.
async fn place_config(storage: &Arc<dyn Storage>, options: &CreateOptions) -> Result<RepoConfig> {
    let register = RegisterName::repo();
    let config = RepoConfig { hash: options.hash, created: recordable(options.open.clock.now())? };
    let bytes = config.encode();
    // It is never replaced, so what no reader takes must not be written.
    RepoConfig::decode(&bytes).map_err(|e| Error::internal("the new repo.json could not be read").caused_by(e))?;
    match storage.replace(&register, &Expected::Absent, bytes.into()).await {
        Replaced::Done(_) => Ok(config),
        Replaced::NotSent(error) => Err(error),
        // The register is read back, because its content decides. If there is none, nothing has changed that readers see.
        Replaced::Refused => written_by_any(&**storage, &register, Error::unavailable(format!("{register} cannot be written"))).await,
        Replaced::Rejected(error) | Replaced::Unanswered(error) => written_by_any(&**storage, &register, error).await,
    }
}

/// What `repo.json` says after a replace that was not answered with success: `error` when there is none.
async fn written_by_any(storage: &dyn Storage, register: &RegisterName, error: Error) -> Result<RepoConfig> {
    match storage.load(register).await? {
        Some(found) => RepoConfig::decode(&found.value),
        None => Err(error),
    }
}

impl Repository {
    /// Makes a repository at `place` and opens it; `Conflict` when there is one already. Fails, and is cancelled, as
    /// [`create_storage`](Self::create_storage) is.
    pub async fn create(place: &str) -> Result<Self> {
        Self::create_with(place, CreateOptions::from(OpenOptions::from_environment())).await
    }

    /// Makes a repository at `place` with the given options. Fails, and is cancelled, as [`create_storage`](Self::create_storage) is; also
    /// `Invalid` when `place` lies in a folder that another repository keeps for itself, and when it is a symbolic link to nothing.
    pub async fn create_with(place: &str, options: CreateOptions) -> Result<Self> {
        let place = StoragePlace::parse(place)?;
        if let StoragePlace::Directory(path) = &place {
            let path = path.clone();
            blocking("a look at the directory of a new repository", move || require_real_place(&path)).await?;
        }
        Self::create_storage(place.open(options.open.local.clone(), &options.open.cloud)?, options).await
    }

    /// Makes a repository in any store that keeps the promises of [`storage`].
    ///
    /// `Conflict` when the store holds a repository already, one whose `main` was lost, or refs or snapshots whose `repo.json` was lost;
    /// `Invalid` when it holds a repository of another hash whose creation was interrupted, and when the clock shows a time that cannot
    /// be recorded; `Unavailable` while garbage is collected there. A refused call writes nothing.
    ///
    /// If the process crashes or the future is dropped, there is no repository, a complete one, or one without `main`. Calling this
    /// again with the same hash finishes the last; `Conflict` then means that the repository is complete.
    pub async fn create_storage(storage: Arc<dyn Storage>, options: CreateOptions) -> Result<Self> {
        let found = load_config(&storage).await?;
        // Before anything is written, so that what a collection has condemned until then is written after it has ended.
        let collection = collection_in(&*storage).await?.state;
        let is_new = found.is_none();
        let config = if let Some(config) = found {
            config
        } else {
            require_idle(&storage, &collection)?;
            place_config(&storage, &options).await?
        };
        let asked = options.hash;
        let repository = Self::assemble(storage, config, options.open);
        repository.require_unfinished(asked).await?;
        if !is_new {
            repository.require_nothing_lost().await?;
            require_idle(repository.storage(), &collection)?;
            recordable(repository.clock().now())?;
        }
        repository.create_main(collection.epoch).await?;
        Ok(repository)
    }

    /// Refuses a place whose repository is complete, or has another hash than asked for.
    async fn require_unfinished(&self, asked: HashAlgorithm) -> Result<()> {
        let place = self.storage();
        let main = Ref::branch(MAIN.parse()?);
        let is_made = match self.refs().try_read(&main).await {
            Ok(state) => state.is_some_and(|state| !state.record.moves.is_empty()),
            Err(e) if is_unreadable(&e) => true,
            Err(e) => return Err(e),
        };
        if is_made {
            return Err(Error::conflict(format!("{place} holds a repository already")));
        }
        let (branches, tags) = futures::try_join!(self.refs().names(RefKind::Branch), self.refs().names(RefKind::Tag))?;
        if branches.iter().any(|name| name.as_str() != MAIN) || !tags.is_empty() {
            return Err(lost_main(place));
        }
        let found = self.hash();
        if found != asked {
            return Err(Error::invalid(format!(
                "{place} holds a repository of hash {found} whose creation was interrupted; finish it with that hash, not with {asked}"
            )));
        }
        Ok(())
    }

    /// Refuses a repository whose refs were lost: it holds a snapshot that no creation makes.
    async fn require_nothing_lost(&self) -> Result<()> {
        if self.has_published().await? {
            return Err(lost_main(self.storage()));
        }
        Ok(())
    }

    /// Whether commits were made: a snapshot has a parent or another message than the first, or cannot be read beside a history that is
    /// not empty. A creation that a power failure interrupted may leave a torn snapshot, and one that was interrupted several times
    /// leaves several.
    async fn has_published(&self) -> Result<bool> {
        let empty = Node::Leaf(Leaf::<HistoryEntry> { entries: Vec::new() }).id(self.hash()).to_string();
        let mut snapshots = self.storage().list(layout::SNAPSHOTS);
        let mut has_unreadable = false;
        while let Some(meta) = snapshots.try_next().await? {
            let Some(id) = meta.name.rsplit('/').next().and_then(|name| name.parse::<SnapshotId>().ok()) else { continue };
            match self.objects().read_snapshot(&id).await {
                Ok(Some(SnapshotObject { commit, .. })) if !commit.parents.is_empty() || commit.message != FIRST_MESSAGE => {
                    return Ok(true);
                }
                Ok(_) => {}
                Err(e) if is_unreadable(&e) => has_unreadable = true,
                Err(e) => return Err(e),
            }
        }
        if !has_unreadable {
            return Ok(false);
        }
        let mut others = self.storage().list(layout::HISTORY).try_filter(|meta| ready(!meta.name.ends_with(&empty)));
        Ok(others.try_next().await?.is_some())
    }

    /// Makes the branch with which every repository begins, after the garbage collection `known` and before any other.
    async fn create_main(&self, known: u64) -> Result<()> {
        let main = Ref::branch(MAIN.parse()?);
        let objects = self.objects();
        let shape = objects.shape();
        let mut uploads = Uploads::new(objects);
        let manifest = build(stream::empty::<Result<(MapKey, Entry)>>(), shape, &mut uploads).await?.root;
        let files = build(stream::empty::<Result<(MapKey, VirtualFile)>>(), shape, &mut uploads).await?.root;
        let history = build(stream::empty::<Result<(MapKey, HistoryEntry)>>(), shape, &mut uploads).await?.root;
        let commit = Commit {
            manifest,
            files,
            history,
            parents: Vec::new(),
            since: None,
            containers: Vec::new(),
            places: Vec::new(),
            time: self.clock().now(),
            message: FIRST_MESSAGE.to_owned(),
            author: None,
            meta: BTreeMap::new(),
        };
        let id = commit.id(objects.hash());
        let time = commit.time;
        let object = with_roots(objects, commit, &mut uploads).await?;
        uploads.snapshot(id, &object).await?;
        uploads.finish().await?;
        self.storage().barrier().await?;
        let to = MoveTo { to: Some(id), op: MoveOp::Create, about: None, not_before: time };
        // The branch is as old as its first snapshot, so that `main@TIME` with the time that is printed for it finds it.
        let refs = Refs::new(objects.clone(), Arc::new(Stopped(time)), self.patience());
        refs.create_main(&main, to, known).await?;
        Ok(())
    }
}
