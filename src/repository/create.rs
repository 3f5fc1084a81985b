//! Making a repository: `repo.json`, an empty root snapshot, and `main` on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream;

use crate::commit::with_roots;
use crate::error::{Error, Result};
use crate::format::{Commit, Entry, HistoryEntry, RepoConfig, VirtualFile};
use crate::handle::{CreateOptions, OpenOptions, Repository};
use crate::key::MapKey;
use crate::map::build;
use crate::objects::Uploads;
use crate::refs::{MoveOp, MoveTo, Ref, Refs};
use crate::storage::{self, Expected, RegisterName, Replaced, Storage};
use crate::time::{Clock, Timestamp};

/// The branch that every repository begins with.
pub(crate) const MAIN: &str = "main";

/// A clock that stands still.
#[derive(Debug)]
struct Stopped(Timestamp);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.0
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
    /// Makes a repository at `place` and opens it; `Conflict` when there is one already.
    pub async fn create(place: &str) -> Result<Self> {
        Self::create_with(place, CreateOptions::from(OpenOptions::from_environment())).await
    }

    /// Makes a repository, saying how.
    pub async fn create_with(place: &str, options: CreateOptions) -> Result<Self> {
        Self::create_storage(storage::open(place, options.open.local.clone(), &options.open.cloud)?, options).await
    }

    /// Makes a repository in any store that passes [`storage::conformance`].
    ///
    /// A crash on the way leaves either no repository, or one whose `main` is made by calling this again.
    pub async fn create_storage(storage: Arc<dyn Storage>, options: CreateOptions) -> Result<Self> {
        let register = RegisterName::repo();
        let config = if let Some(found) = storage.load(&register).await? {
            RepoConfig::decode(&found.value)?
        } else {
            let config = RepoConfig { hash: options.hash, created: options.open.clock.now() };
            // Losing this race is no harm: whoever won made a repository here, and `main` decides the rest.
            match storage.replace(&register, &Expected::Absent, config.encode().into()).await {
                Replaced::Done(_) => config,
                Replaced::NotSent(error) => return Err(error),
                // What lies there now counts, whatever the answer was; if that is nothing, this changed nothing that readers see.
                Replaced::Refused => {
                    written_by_any(&*storage, &register, Error::unavailable(format!("{register} cannot be written"))).await?
                }
                Replaced::Rejected(error) | Replaced::Unanswered(error) => written_by_any(&*storage, &register, error).await?,
            }
        };
        let repository = Self::assemble(storage, config, options.open);
        repository.create_main().await?;
        Ok(repository)
    }

    async fn create_main(&self) -> Result<()> {
        let main = Ref::branch(MAIN.parse()?);
        if self.refs().try_read(&main).await?.is_some_and(|state| !state.record.moves.is_empty()) {
            return Err(Error::conflict(format!("{} holds a repository already", self.storage())));
        }
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
            message: "an empty repository".to_owned(),
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
        // The branch is as old as its first snapshot, so that `main@` the time that is printed for it finds it.
        let refs = Refs::new(objects.clone(), Arc::new(Stopped(time)), self.patience());
        refs.create(&main, to).await?;
        Ok(())
    }
}
