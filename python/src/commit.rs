//! Committing a session.

use std::collections::BTreeMap;
use std::sync::Arc;

use firnline::{CommitOptions, Committed, EmptyCommit, Error, OnConflict, Prefix, PublishState, Result};
use futures::FutureExt as _;
use futures::future::ready;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::sync::RwLock;

use crate::failure::{ConflictRow, Failure, OrRaise as _, conflict_row};
use crate::runtime::{note, wait};
use crate::session::NativeSession;
use crate::view::Staging;

const INTERRUPTED: &str = "the commit of this session was interrupted, and what was staged is gone; open another session";

/// What Python says about a commit; the keys of a dictionary.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct CommitArguments {
    message: String,
    author: Option<String>,
    metadata: BTreeMap<String, String>,
    rebase: bool,
    on_conflict: String,
    on_conflict_below: Vec<(String, String)>,
    allow_empty: bool,
}

/// Reads a policy.
pub(crate) fn policy(word: &str) -> Result<OnConflict> {
    match word {
        "fail" => Ok(OnConflict::Refuse),
        "ours" => Ok(OnConflict::Ours),
        "theirs" => Ok(OnConflict::Theirs),
        other => Err(Error::invalid(format!("on_conflict {other:?} is not one of fail, ours and theirs"))),
    }
}

/// The word that [`policy`] reads.
pub(crate) const fn policy_word(policy: OnConflict) -> &'static str {
    match policy {
        OnConflict::Ours => "ours",
        OnConflict::Theirs => "theirs",
        // A policy that this module does not know yet settles nothing here.
        _ => "fail",
    }
}

/// Reads the policies of some prefixes.
pub(crate) fn policies(words: &[(String, String)]) -> Result<Vec<(Prefix, OnConflict)>> {
    words.iter().map(|(prefix, word)| Ok((Prefix::new(prefix)?, policy(word)?))).collect()
}

impl CommitArguments {
    pub(crate) fn into_options(self) -> Result<CommitOptions> {
        let mut options = CommitOptions::from(self.message);
        (options.author, options.meta) = (self.author, self.metadata);
        options.empty = if self.allow_empty { EmptyCommit::Make } else { EmptyCommit::Skip };
        options.on_conflict = policy(&self.on_conflict)?;
        options.on_conflict_below = policies(&self.on_conflict_below)?;
        Ok(if self.rebase { options } else { options.without_rebase() })
    }
}

/// A commit for the time that it takes: the lock of the session is held, and the session is taken out of it.
async fn commit(staging: Arc<RwLock<Staging>>, options: CommitOptions) -> Result<Committed, Failure> {
    let mut staging = staging.write().await;
    let session = match std::mem::replace(&mut *staging, Staging::Lost(INTERRUPTED)) {
        Staging::Open(session) => session,
        other => {
            let why = match &other {
                Staging::Lost(why) => why,
                Staging::Fork(_) => "a fork cannot be committed; merge it into the session that it was taken from",
                Staging::Open(_) | Staging::Committed(_) => "the session was committed already; open another one",
            };
            *staging = other;
            return Err(Error::invalid(why).into());
        }
    };
    match session.commit_settling(options).await {
        Ok(committed) => {
            *staging = Staging::Committed(committed.snapshot.clone());
            Ok(committed)
        }
        Err(failed) => {
            let failure = Failure::from(&*failed);
            *staging = Staging::Open(failed.into_session());
            Err(failure)
        }
    }
}

#[pymethods]
impl NativeSession {
    /// Commits what is staged: id, whether the snapshot is new, conflicts that the policy settled.
    ///
    /// After an error the session is as it was. A signal ends the call and the session; the exception then has a note that tells whether
    /// the commit may have happened.
    fn commit(&self, py: Python<'_>, arguments: CommitArguments) -> PyResult<(String, bool, Vec<ConflictRow>)> {
        let options = arguments.into_options().or_raise(py)?;
        let staging = self.staging(py)?;
        let publishing = self.stage(py, |session| ready(Ok(session.publish_handle())).boxed())?;
        let committed = wait(py, commit(staging, options)).inspect_err(|interrupt| {
            let told = match publishing.state() {
                PublishState::NotSent => Ok("nothing was committed".to_owned()),
                PublishState::Committed(id) => Ok(format!("snapshot {id} was committed")),
                PublishState::Sent(p) => Ok(format!(
                    "snapshot {} may have been committed; repository.settle({:?}, {:?}) tells",
                    p.id,
                    p.branch.as_str(),
                    p.id.to_string()
                )),
                _ => Err(()),
            };
            if let Ok(told) = told {
                note(py, interrupt, &told);
            }
        })?;
        let committed = committed.or_raise(py)?;
        let (id, is_new, settled) =
            (committed.snapshot.id().to_string(), committed.is_new, committed.settled.iter().map(conflict_row).collect());
        self.settle_on(committed.snapshot);
        Ok((id, is_new, settled))
    }

    /// Refuses what a commit would be refused for, whatever it holds.
    fn check_commit(&self, py: Python<'_>, arguments: CommitArguments) -> PyResult<()> {
        let options = arguments.into_options().or_raise(py)?;
        self.stage(py, move |session| async move { session.check(&options).await }.boxed())
    }

    /// Describes the session as bytes, from which another process makes a fork.
    fn fork<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.stage(py, |session| session.fork().boxed())?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Whether anything was staged in a fork beside what it inherited.
    fn has_own_changes(&self, py: Python<'_>) -> PyResult<bool> {
        let staging = self.staging(py)?;
        wait(py, async move { matches!(&*staging.read().await, Staging::Fork(fork) if fork.has_changes()) })
    }

    /// The changes of a fork as bytes.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let staging = self.staging(py)?;
        let bytes = wait(py, async move {
            match &*staging.read().await {
                Staging::Fork(fork) => fork.finish().await,
                Staging::Open(_) | Staging::Committed(_) | Staging::Lost(_) => Err(Error::invalid("the session is no fork; commit it")),
            }
        })?;
        Ok(PyBytes::new(py, &bytes.or_raise(py)?))
    }

    /// Stages the changes of a fork of this session.
    fn merge(&self, py: Python<'_>, changes: Vec<u8>) -> PyResult<()> {
        self.stage(py, move |session| async move { session.merge(&changes).await }.boxed())
    }

    /// Forgets what is staged, and bases the session on the tip that the branch has now.
    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        let staging = self.staging(py)?;
        let branch = self.branch_name().unwrap_or_default();
        let fresh = self.origin.call(py, |repository| async move { repository.write(&branch).await })?;
        let base = fresh.base().id();
        wait(py, async move {
            let old = std::mem::replace(&mut *staging.write().await, Staging::Open(fresh));
            drop(old);
        })?;
        self.base_on(base);
        Ok(())
    }
}
