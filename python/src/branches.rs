//! Work on branches as a whole: merging versions into them, applying and reverting commits, squashing, going back and forth by a step.

use std::collections::BTreeMap;

use firnline::{BranchEvent, BranchStep, CommitOptions, Error, MergeOptions, RefName, Repository, Result, StagedMerge};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::commit::{CommitArguments, policies, policy, policy_word};
use crate::failure::{ConflictRow, conflict_row};
use crate::repository::NativeRepository;
use crate::rows::micros;
use crate::session::NativeSession;

/// What Python says about a merge; the keys of a dictionary.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct MergeArguments {
    message: Option<String>,
    author: Option<String>,
    metadata: BTreeMap<String, String>,
    base: Option<String>,
    on_conflict: String,
    on_conflict_below: Vec<(String, String)>,
}

impl MergeArguments {
    async fn into_options(self, repository: &Repository) -> Result<MergeOptions> {
        let mut options = MergeOptions::default();
        (options.message, options.author, options.meta) = (self.message, self.author, self.metadata);
        options.on_conflict = policy(&self.on_conflict)?;
        options.on_conflict_below = policies(&self.on_conflict_below)?;
        options.base = match self.base {
            Some(base) => Some(repository.read(&base).await?),
            None => None,
        };
        Ok(options)
    }
}

/// The session, what its commit will say as the arguments of a commit, the version from which changes count, what policies settled.
type StagedRow = (NativeSession, Py<PyDict>, String, Vec<ConflictRow>);

/// `undo` or `redo`, what happened (`commit` or the word of a move), that commit, the time of that move, what the branch showed and shows.
type StepRow = (&'static str, &'static str, Option<String>, Option<i64>, Option<String>, Option<String>);

fn step_row(step: &BranchStep) -> StepRow {
    let (event, commit, time) = match &step.event {
        BranchEvent::Commit(id) => ("commit", Some(id.to_string()), None),
        BranchEvent::Move(moved) => (moved.op.word(), None, Some(moved.time)),
        // A kind of event that this module does not know yet.
        _ => ("other", None, None),
    };
    let id = |id: Option<firnline::SnapshotId>| id.map(|id| id.to_string());
    (step.op.word(), event, commit, micros(time), id(step.from), id(step.to))
}

/// The arguments by which `NativeSession.commit` commits as `options` say.
fn commit_arguments(py: Python<'_>, options: CommitOptions) -> PyResult<Py<PyDict>> {
    let told = PyDict::new(py);
    let below: Vec<_> = options.on_conflict_below.iter().map(|(prefix, policy)| (prefix.as_str(), policy_word(*policy))).collect();
    told.set_item("message", options.message)?;
    told.set_item("author", options.author)?;
    told.set_item("metadata", options.meta)?;
    told.set_item("rebase", true)?;
    told.set_item("on_conflict", policy_word(options.on_conflict))?;
    told.set_item("on_conflict_below", below)?;
    told.set_item("allow_empty", false)?;
    Ok(told.unbind())
}

impl NativeRepository {
    fn staged<F>(&self, py: Python<'_>, stage: impl FnOnce(Repository) -> F + Send) -> PyResult<StagedRow>
    where
        F: Future<Output = Result<StagedMerge>> + Send,
    {
        let StagedMerge { session, options, base, settled, .. } = self.origin.call(py, stage)?;
        let session = NativeSession::writing(self.origin.clone(), session);
        Ok((session, commit_arguments(py, options)?, base.to_string(), settled.iter().map(conflict_row).collect()))
    }
}

#[pymethods]
impl NativeRepository {
    /// Stages a merge of a revision into a branch.
    fn merge(&self, py: Python<'_>, branch: &str, revision: &str, arguments: MergeArguments) -> PyResult<StagedRow> {
        self.staged(py, |repository| async move {
            let (branch, theirs) = (branch.parse::<RefName>()?, repository.read(revision).await?);
            repository.merge(&branch, &theirs, arguments.into_options(&repository).await?).await
        })
    }

    /// Stages what one commit changed.
    fn cherry_pick(&self, py: Python<'_>, branch: &str, revision: &str, arguments: MergeArguments) -> PyResult<StagedRow> {
        self.staged(py, |repository| async move {
            let (branch, picked) = (branch.parse::<RefName>()?, repository.read(revision).await?);
            repository.cherry_pick(&branch, &picked, arguments.into_options(&repository).await?).await
        })
    }

    /// Stages the opposite of what one commit changed.
    fn revert(&self, py: Python<'_>, branch: &str, revision: &str, arguments: MergeArguments) -> PyResult<StagedRow> {
        self.staged(py, |repository| async move {
            let (branch, reverted) = (branch.parse::<RefName>()?, repository.read(revision).await?);
            repository.revert(&branch, &reverted, arguments.into_options(&repository).await?).await
        })
    }

    /// Makes one commit of those after a revision; its id.
    fn squash(&self, py: Python<'_>, branch: &str, onto: &str, arguments: CommitArguments) -> PyResult<String> {
        let squashed = self.origin.call(py, |repository| async move {
            let onto = repository.read(onto).await?;
            repository.squash(&branch.parse()?, &onto, arguments.into_options()?).await
        })?;
        Ok(squashed.snapshot.id().to_string())
    }

    /// Points a branch at a descendant of its tip, or only finds out whether that can be done; whether that is not its tip already.
    fn fast_forward(&self, py: Python<'_>, branch: &str, revision: &str, dry_run: bool) -> PyResult<bool> {
        self.origin.call(py, |repository| async move {
            let (branch, target) = (branch.parse()?, repository.read(revision).await?);
            if dry_run {
                return repository.can_fast_forward(&branch, &target).await;
            }
            Ok::<_, Error>(repository.fast_forward(&branch, &target).await?.is_some())
        })
    }

    /// Takes back what happened to a branch last, or the last undo; or only says what that would be.
    fn step(&self, py: Python<'_>, branch: &str, redo: bool, dry_run: bool) -> PyResult<StepRow> {
        let step = self.origin.call(py, |repository| async move {
            let branch = branch.parse()?;
            let step = if redo { repository.redo_step(&branch).await? } else { repository.undo_step(&branch).await? };
            if !dry_run {
                repository.take_step(&step).await?;
            }
            Ok::<_, Error>(step)
        })?;
        Ok(step_row(&step))
    }

    /// The latest common ancestors of two revisions.
    fn common_ancestors(&self, py: Python<'_>, one: &str, other: &str) -> PyResult<Vec<String>> {
        let found = self.origin.call(py, |repository| async move {
            let (one, other) = (one.parse()?, other.parse()?);
            let (one, other) = futures::try_join!(repository.read_record(&one), repository.read_record(&other))?;
            one.common_ancestors(&other).await
        })?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    /// Whether a revision is another one, or an ancestor of it.
    fn is_behind(&self, py: Python<'_>, revision: &str, other: &str) -> PyResult<bool> {
        self.origin.call(py, |repository| async move {
            let (revision, other) = (revision.parse()?, other.parse()?);
            let (revision, other) = futures::try_join!(repository.read_record(&revision), repository.read_record(&other))?;
            revision.is_behind(&other).await
        })
    }
}
