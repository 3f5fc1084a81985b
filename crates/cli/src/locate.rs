//! Finding the repository, and what may be read beside it.

use std::env;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::args::Global;
use super::failure::LeftBehind;
use super::output::{Format, Loudness, Output, Show};
use super::withdraw::WithdrawnNote;
use firnline::storage::NetworkFileSystems;
use firnline::{
    Access, Allow, CommitError, CommitOptions, Committed, Error, GcHandle, OpenOptions, PublishHandle, Rebind, Repository, Result,
    Revision, Snapshot, SnapshotId, WriteSession,
};

use serde::Serialize;

const REPO: &str = "FIRN_REPO";
const ALLOW: &str = "FIRN_ALLOW";
const REBIND: &str = "FIRN_REBIND";
/// The file by which a directory is known to be a repository.
const MARK: &str = "repo.json";
/// More files than this are not named by whole URLs without a word.
const MANY_FILES: u64 = 100_000;

/// What every verb gets: how to reach the repository, and where to print.
#[derive(Debug)]
pub(super) struct Context {
    global: Global,
    pub(super) out: Output,
    under_way: UnderWay,
    /// Whether it was said that many files could be named more shortly.
    has_told_names: AtomicBool,
}

/// What is being done that is not ended by an interruption, for whoever ends the command before it is done.
#[derive(Debug, Clone, Default)]
pub(super) struct UnderWay(Arc<Mutex<UnderWayHandles>>);

#[derive(Debug, Default)]
struct UnderWayHandles {
    commit: Option<PublishHandle>,
    collection: Option<GcHandle>,
}

impl UnderWay {
    fn handles(&self) -> MutexGuard<'_, UnderWayHandles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is left behind if the command ends now.
    pub(super) fn left(&self) -> LeftBehind {
        let handles = self.handles();
        if let Some(pending) = handles.commit.as_ref().and_then(PublishHandle::pending) {
            return LeftBehind::Commit(pending);
        }
        let is_collecting = handles.collection.as_ref().is_some_and(GcHandle::is_unfinished);
        if is_collecting { LeftBehind::Collection } else { LeftBehind::Nothing }
    }
}

impl Context {
    pub(super) fn new(global: Global) -> Self {
        let format = if global.json { Format::Json } else { Format::Text };
        let out = Output::new(format, Loudness::of(&global));
        Self { global, out, under_way: UnderWay::default(), has_told_names: AtomicBool::new(false) }
    }

    /// What is told when the command is interrupted.
    pub(super) fn under_way(&self) -> UnderWay {
        self.under_way.clone()
    }

    /// From now on an interruption tells whether the collection has to be ended by the next one.
    pub(super) fn collects(&self, handle: GcHandle) {
        self.under_way.handles().collection = Some(handle);
    }

    /// Prepares and publishes what is staged; an interruption tells what may have been published.
    pub(super) async fn commit(&self, session: WriteSession, options: CommitOptions) -> Result<Committed, Box<CommitError>> {
        self.tell_long_names(&session);
        self.under_way.handles().commit = Some(session.publish_handle());
        Box::pin(session.commit_settling(options)).await
    }

    /// Says once how many files could be named more shortly, where there are many.
    fn tell_long_names(&self, session: &WriteSession) {
        if let Some(told) = long_names(session.automatic_files())
            && !self.has_told_names.swap(true, Ordering::Relaxed)
        {
            self.out.say(&told);
        }
    }

    /// Opens the repository for a verb that changes nothing.
    pub(super) async fn open_to_read(&self) -> Result<Repository> {
        Repository::open_with(&self.place()?, self.options()?.read_only()).await
    }

    /// Allows one more place, which the user named by itself.
    pub(super) fn also_allow(&mut self, place: String) {
        self.global.allow.push(place);
    }

    /// Opens the repository for a verb that may change it.
    pub(super) async fn open_to_write(&self) -> Result<Repository> {
        Repository::open_with(&self.place()?, self.options()?).await
    }

    /// Opens a snapshot. Where the revision names a time, says what it became and whether that is final.
    pub(super) async fn snapshot(&self, repository: &Repository, revision: &str) -> Result<Snapshot> {
        let id = self.resolve(repository, revision).await?;
        let snapshot = repository.read_revision(&id.into()).await?;
        self.tell_withdrawn(&snapshot);
        self.tell_unknown_containers(&snapshot, revision)?;
        Ok(snapshot)
    }

    /// Opens the record of a snapshot, also if its data has expired. Otherwise like [`snapshot`](Self::snapshot).
    pub(super) async fn record(&self, repository: &Repository, revision: &str) -> Result<Snapshot> {
        let snapshot = self.record_silently(repository, revision).await?;
        self.tell_withdrawn(&snapshot);
        Ok(snapshot)
    }

    /// The same without a word about a withdrawal.
    pub(super) async fn record_silently(&self, repository: &Repository, revision: &str) -> Result<Snapshot> {
        let id = self.resolve(repository, revision).await?;
        repository.read_record(&id.into()).await
    }

    /// Says why a version that was withdrawn should not be used.
    fn tell_withdrawn(&self, snapshot: &Snapshot) {
        if let Some(withdrawal) = snapshot.withdrawn() {
            self.out.say_item(&WithdrawnNote::of(withdrawal));
        }
    }

    async fn resolve(&self, repository: &Repository, revision: &str) -> Result<SnapshotId> {
        let parsed: Revision = revision.parse()?;
        let resolved = repository.resolve(&parsed).await?;
        if let Some(is_final) = resolved.is_final {
            let (id, time) = (resolved.id.to_string(), resolved.commit.time.to_string());
            self.out.say_item(&ResolvedRow { resolved: Became { revision, id, time, is_final } });
        }
        Ok(resolved.id)
    }

    /// Where a new repository goes: never a parent directory.
    pub(super) fn place_to_create(&self) -> String {
        self.named().unwrap_or_else(|| ".".to_owned())
    }

    pub(super) fn options(&self) -> Result<OpenOptions> {
        let mut options = OpenOptions::from_environment().access(self.access()?);
        if let Some(bar) = self.out.bar() {
            options = options.progress(Arc::new(bar.clone()));
        }
        if self.global.allow_network_file_system {
            options.local = options.local.network(NetworkFileSystems::Trust);
        }
        Ok(options)
    }

    pub(super) fn place(&self) -> Result<String> {
        match self.named() {
            Some(place) => Ok(place),
            None => discover(),
        }
    }

    /// The place that the command line or the environment names. An empty variable names none.
    fn named(&self) -> Option<String> {
        self.global.place.clone().or_else(|| env::var(REPO).ok().filter(|place| !place.is_empty()))
    }

    fn access(&self) -> Result<Access> {
        let from_environment = Access::parse_list(&variable(ALLOW)?).map_err(|e| e.context(ALLOW))?;
        let given = self.global.allow.iter().map(|entry| entry.parse::<Allow>()).collect::<Result<Vec<_>>>()?;
        let mut access = Access::from_configuration()?;
        access.allow(from_environment.into_iter().chain(given));
        let rebound = Rebind::parse_list(&variable(REBIND)?).map_err(|e| e.context(REBIND))?;
        for (container, to) in rebound.into_iter().chain(self.rebinds()?) {
            access.rebind(container, to)?;
        }
        access.check()?;
        Ok(access)
    }

    fn rebinds(&self) -> Result<Vec<(String, Rebind)>> {
        self.global.rebind.iter().map(|text| Rebind::parse(text)).collect()
    }

    /// Says which containers named on the command line the snapshot does not have: their names may be misspelt.
    fn tell_unknown_containers(&self, snapshot: &Snapshot, revision: &str) -> Result<()> {
        let known = &snapshot.record().containers;
        for (name, _) in self.rebinds()?.iter().filter(|(name, _)| !known.iter().any(|container| container.name == *name)) {
            let names: Vec<_> = known.iter().map(|container| container.name.as_str()).collect();
            let has = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
            self.out.say(&format!("--rebind {name}: {revision} has no container of this name; {has}"));
        }
        Ok(())
    }
}

/// The value of an environment variable that holds a list; empty if it is not set.
fn variable(name: &str) -> Result<String> {
    let value = env::var_os(name).unwrap_or_default();
    value.into_string().map_err(|_| Error::invalid(format!("{name} is not UTF-8; write its places percent-encoded")))
}

/// What is said when so many files are named by whole URLs in one commit.
fn long_names(files: u64) -> Option<String> {
    (files > MANY_FILES).then(|| {
        format!("{files} files are named by all of their URLs; templates that make the names short are listed by: firn container suggest")
    })
}

/// The working directory or the nearest parent that holds a repository.
fn discover() -> Result<String> {
    let here = env::current_dir().map_err(|e| Error::not_found("the working directory cannot be found").caused_by(e))?;
    let found = here.ancestors().find(|directory| directory.join(MARK).is_file());
    match found.and_then(Path::to_str) {
        // An absolute path has no scheme, whatever characters it has.
        Some(found) => Ok(found.to_owned()),
        None if found.is_some() => Err(Error::invalid(format!("{} is not UTF-8; name it with -R file://…", here.display()))),
        None => Err(Error::not_found(format!(
            "neither {} nor a directory above it is a repository; name one with -R or {REPO}, or make one with: firn init",
            here.display()
        ))),
    }
}

#[derive(Serialize)]
struct ResolvedRow<'a> {
    resolved: Became<'a>,
}

/// What a revision with a time became.
#[derive(Serialize)]
struct Became<'a> {
    revision: &'a str,
    id: String,
    time: String,
    #[serde(rename = "final")]
    is_final: bool,
}

impl Show for ResolvedRow<'_> {
    fn text(&self) -> String {
        let Became { revision, id, time, is_final } = &self.resolved;
        let finality = if *is_final { "final" } else { "not final, asked later it may be another" };
        format!("{revision} is {id} of {time} ({finality})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_long_names_are_nothing_to_speak_of_and_one_more_is() {
        assert_eq!(long_names(100_000), None);
        let told = long_names(100_001).unwrap();
        assert!(told.starts_with("100001 files") && told.contains("firn container suggest"), "{told}");
    }
}
