//! The objects that the store has not acknowledged, and how far their uploads have come. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::runtime::Id as RuntimeId;
use tokio::task::AbortHandle;

use crate::budget::Share;
use crate::error::Error;
use crate::storage::ObjectName;

/// Makes one attempt to store an object. It owns the bytes, and is kept until one attempt was acknowledged.
pub(super) type UploadJob = Arc<dyn Fn() -> BoxFuture<'static, Result<(), UploadError>> + Send + Sync>;

/// Why an object was not stored.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// Its own reader would refuse it. Nothing was sent, and no attempt will succeed.
    Refused(Error),
    /// The attempt failed. Another one may succeed.
    Failed(Error),
}

impl From<Error> for UploadError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// An object that the store has not acknowledged.
pub(super) struct Upload {
    /// Its place in the order of the calls of [`Uploads::send`].
    turn: u64,
    job: UploadJob,
    /// What its bytes take of the budget, also while no attempt is under way.
    _share: Share,
    /// The attempts under way. Of several, the first that succeeds counts.
    pub(super) attempts: Vec<UploadAttempt>,
    /// The error of the last attempt, unless that was told to a caller already.
    error: Option<UploadError>,
}

pub(super) struct UploadAttempt {
    pub(super) number: u64,
    /// Where its task runs; `None`: it runs in a call, without a runtime.
    runtime: Option<RuntimeId>,
    /// Ends the task.
    pub(super) task: Option<AbortHandle>,
}

impl Upload {
    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.error, Some(UploadError::Refused(_)))
    }

    fn is_running_in(&self, runtime: Option<RuntimeId>) -> bool {
        self.attempts.iter().any(|attempt| attempt.runtime == runtime)
    }
}

#[derive(Default)]
pub(super) struct UploadsState {
    pub(super) unacknowledged: BTreeMap<ObjectName, Upload>,
    /// The names of these, in the order of the calls.
    order: BTreeMap<u64, ObjectName>,
    /// The turns of those with an error that no caller was told.
    failed: BTreeSet<u64>,
    /// For each runtime the attempts under way: the turn of the object, and the number of the attempt.
    pub(super) running: HashMap<Option<RuntimeId>, BTreeSet<(u64, u64)>>,
    /// How many objects were sent, and how many attempts have begun.
    pub(super) turns: u64,
    attempts: u64,
    /// The runtimes of the first callers, at most two of them.
    callers: Vec<Option<RuntimeId>>,
}

/// How far the objects that a caller waits for have come.
pub(super) enum UploadProgress {
    Acknowledged,
    Running,
    /// No attempt is under way where the caller is, and no error is to be told.
    Idle,
    Failed(Error),
}

impl UploadsState {
    pub(super) fn add(&mut self, name: &ObjectName, share: Share, job: UploadJob) {
        self.remove(name);
        self.turns += 1;
        self.order.insert(self.turns, name.clone());
        let upload = Upload { turn: self.turns, job, _share: share, attempts: Vec::new(), error: None };
        self.unacknowledged.insert(name.clone(), upload);
    }

    fn remove(&mut self, name: &ObjectName) {
        let Some(upload) = self.unacknowledged.remove(name) else { return };
        self.order.remove(&upload.turn);
        self.failed.remove(&upload.turn);
        // Attempts in other runtimes end by themselves.
        for attempt in &upload.attempts {
            self.note_ended(upload.turn, attempt);
        }
    }

    /// How many attempts are under way in `runtime`.
    pub(super) fn running_in(&self, runtime: Option<RuntimeId>) -> usize {
        self.running.get(&runtime).map_or(0, BTreeSet::len)
    }

    fn note_ended(&mut self, turn: u64, attempt: &UploadAttempt) {
        if let Some(running) = self.running.get_mut(&attempt.runtime) {
            running.remove(&(turn, attempt.number));
            if running.is_empty() {
                self.running.remove(&attempt.runtime);
            }
        }
    }

    /// Notes that an attempt begins in `runtime`, unless one is under way there. Its number, and what it runs.
    pub(super) fn begin(&mut self, name: &ObjectName, runtime: Option<RuntimeId>) -> Option<(u64, UploadJob)> {
        let upload = self.unacknowledged.get_mut(name).filter(|upload| !upload.is_refused() && !upload.is_running_in(runtime))?;
        self.attempts += 1;
        let number = self.attempts;
        upload.attempts.push(UploadAttempt { number, runtime, task: None });
        upload.error = None;
        let (turn, job) = (upload.turn, Arc::clone(&upload.job));
        self.failed.remove(&turn);
        self.running.entry(runtime).or_default().insert((turn, number));
        Some((number, job))
    }

    /// Notes how an attempt ended.
    pub(super) fn end(&mut self, name: &ObjectName, number: u64, ended: AttemptEnd) {
        let Some(upload) = self.unacknowledged.get_mut(name) else { return };
        let Some(at) = upload.attempts.iter().position(|attempt| attempt.number == number) else { return };
        let (turn, attempt) = (upload.turn, upload.attempts.swap_remove(at));
        self.note_ended(turn, &attempt);
        match ended {
            AttemptEnd::Stored => self.remove(name),
            // A task that disappeared with its runtime is no failure: the object is sent again when that is needed.
            AttemptEnd::Vanished => {}
            AttemptEnd::Failed(error) => {
                if let Some(upload) = self.unacknowledged.get_mut(name) {
                    upload.error = Some(error);
                }
                self.failed.insert(turn);
            }
        }
    }

    /// Notes a caller on `runtime`.
    pub(super) fn visit(&mut self, runtime: Option<RuntimeId>) {
        if self.callers.len() < 2 && !self.callers.contains(&runtime) {
            self.callers.push(runtime);
        }
    }

    /// Whether there were callers on several runtimes.
    pub(super) const fn has_many_callers(&self) -> bool {
        self.callers.len() > 1
    }

    /// Notes the task of an attempt that has begun. An attempt that is gone already was dropped by a runtime that is shutting down: that is
    /// a failure, because no attempt there will ever run.
    pub(super) fn note_task(&mut self, name: &ObjectName, number: u64, task: AbortHandle) {
        let Some(upload) = self.unacknowledged.get_mut(name) else { return };
        if let Some(attempt) = upload.attempts.iter_mut().find(|attempt| attempt.number == number) {
            attempt.task = Some(task);
        } else if upload.attempts.is_empty() && upload.error.is_none() {
            let stopped = Error::unavailable(format!("storing {name} was stopped, because its runtime is shutting down"));
            upload.error = Some(stopped.into());
            self.failed.insert(upload.turn);
        }
    }

    /// Whether there is an upload for which no attempt is under way in `runtime`, and one may succeed.
    pub(super) fn has_idle_in(&self, runtime: Option<RuntimeId>) -> bool {
        let idle = |upload: &Upload| !upload.is_refused() && !upload.is_running_in(runtime);
        self.running_in(runtime) < self.unacknowledged.len() && self.unacknowledged.values().any(idle)
    }

    /// The names of those for which no attempt is under way in `runtime`, and one may succeed.
    pub(super) fn idle_in(&self, runtime: Option<RuntimeId>) -> Vec<ObjectName> {
        if self.running_in(runtime) == self.unacknowledged.len() {
            return Vec::new();
        }
        let idle = |upload: &Upload| !upload.is_refused() && !upload.is_running_in(runtime);
        let names = self.order.values().filter(|name| self.unacknowledged.get(*name).is_some_and(idle));
        names.cloned().collect()
    }

    /// How far the objects have come that were sent at turn `last` or before.
    pub(super) fn progress(&mut self, last: u64, runtime: Option<RuntimeId>) -> UploadProgress {
        if self.order.first_key_value().is_none_or(|(turn, _)| *turn > last) {
            return UploadProgress::Acknowledged;
        }
        if self.running.get(&runtime).and_then(BTreeSet::first).is_some_and(|(turn, _)| *turn <= last) {
            return UploadProgress::Running;
        }
        let failed: Vec<_> = self.failed.range(..=last).copied().collect();
        self.take_error(&failed).map_or(UploadProgress::Idle, UploadProgress::Failed)
    }

    /// How far the objects `names` have come.
    pub(super) fn progress_of(&mut self, names: &[ObjectName], runtime: Option<RuntimeId>) -> UploadProgress {
        let left: Vec<&Upload> = names.iter().filter_map(|name| self.unacknowledged.get(name)).collect();
        if left.is_empty() {
            return UploadProgress::Acknowledged;
        }
        if left.iter().any(|upload| upload.is_running_in(runtime)) {
            return UploadProgress::Running;
        }
        let failed = left.iter().map(|upload| upload.turn).filter(|turn| self.failed.contains(turn)).collect::<Vec<_>>();
        self.take_error(&failed).map_or(UploadProgress::Idle, UploadProgress::Failed)
    }

    /// The error of an upload that failed, if one did that is not under way again in `runtime`.
    pub(super) fn failure(&mut self, runtime: Option<RuntimeId>) -> Option<Error> {
        let failed = self.failed.iter().filter(|turn| {
            let upload = self.order.get(turn).and_then(|name| self.unacknowledged.get(name));
            upload.is_some_and(|upload| !upload.is_running_in(runtime))
        });
        let failed: Vec<_> = failed.copied().collect();
        self.take_error(&failed)
    }

    /// Takes the error of one of the uploads of these turns. An upload that can never succeed is forgotten with it: its map is built
    /// anew, or not used. Its error comes first, because no repetition helps.
    fn take_error(&mut self, failed: &[u64]) -> Option<Error> {
        let is_refused = |turn: &&u64| {
            let upload = self.order.get(turn).and_then(|name| self.unacknowledged.get(name));
            upload.is_some_and(Upload::is_refused)
        };
        let turn = *failed.iter().find(is_refused).or(failed.first())?;
        self.failed.remove(&turn);
        let name = self.order.get(&turn)?.clone();
        match self.unacknowledged.get_mut(&name)?.error.take()? {
            UploadError::Failed(error) => Some(error),
            UploadError::Refused(error) => {
                self.remove(&name);
                Some(error)
            }
        }
    }
}

/// How an attempt ended.
pub(super) enum AttemptEnd {
    Stored,
    Failed(UploadError),
    /// Its task was dropped before it ended.
    Vanished,
}
