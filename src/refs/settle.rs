//! Replaces a ref conditionally, once, and finds out what became of it.
//!
//! Only success, and a replace that was never sent, are taken as they are answered. Proxies send requests twice, answers
//! get lost, and gateways answer with an error for what they passed on. So after every other answer the ref is read back.
//! When it has changed, it tells itself whether ours is in its past. When it has not, the same replace is sent again, except
//! that the store's rejection counts if nothing else that was sent is in doubt: it was answered, and it was not done.

use std::time::Duration;

use bytes::Bytes;

use super::doubt::{AfterAnswer, Answered, Doubt};
use super::{Ref, RefRecord, RefState, Refs};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Expected, RegisterName, Replaced};
use crate::time::SKEW;

/// How long a writer goes on asking before it calls an outcome unknown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How many times a replace is sent, and how many times the store is asked what became of it.
    pub(crate) attempts: u32,
    /// The pauses between them.
    pub(crate) backoff: Backoff,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 8, backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(2)) }
    }
}

impl Patience {
    /// Waits after attempt number `attempt`, counted from 0.
    pub(crate) async fn wait(self, attempt: u32) {
        self.backoff.wait(attempt).await;
    }
}

/// What became of a replace.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each replace, and none is kept")]
pub(crate) enum Settled {
    /// It happened.
    Won,
    /// It did not and never will: the ref is now this, or has never been made.
    Lost(Option<RefState>),
}

/// One replace on its way to its end.
#[derive(Debug)]
struct Replacement<'a> {
    name: &'a Ref,
    register: &'a RegisterName,
    before: Option<&'a RefState>,
    value: Bytes,
    doubt: Doubt,
    /// Why the store rejected the replace that was sent last, if it did.
    rejected: Option<Error>,
    /// Why the replace could not be sent, or the store not be asked.
    trouble: Option<Error>,
}

/// What comes next.
#[expect(clippy::large_enum_variant, reason = "one for each request, and none is kept")]
enum SettleStep {
    /// Ask the store what became of the replace.
    Ask,
    /// Wait, and go on from the beginning.
    Wait,
    /// It is known how it ended.
    End(Result<Settled>),
}

impl Refs {
    /// Replaces a ref by `next` if it still is what was read, and finds out whether that happened.
    ///
    /// `landed` tells of a value read later whether ours is in its past. An error other than `OutcomeUnknown` means that the
    /// replace did not happen and cannot happen any more: nothing was sent, or the store rejected everything that was sent
    /// and afterwards still had the value that the replace would have changed. `OutcomeUnknown` when the store cannot be
    /// asked, or may still carry out a replace: then it may have happened, or may still.
    pub(crate) async fn replace_settled<F: Future<Output = Result<bool>> + Send>(
        &self,
        name: &Ref,
        before: Option<&RefState>,
        next: &RefRecord,
        landed: impl Fn(RefRecord) -> F + Send + Sync,
    ) -> Result<Settled> {
        self.require_agreeing_clocks(name)?;
        let register = &name.register();
        let mut change = Replacement { name, register, before, value: next.encode(), doubt: Doubt::new(), rejected: None, trouble: None };
        for attempt in 0..self.patience.attempts {
            let mut step = if change.doubt.is_due() { self.send(&mut change).await } else { SettleStep::Ask };
            if matches!(step, SettleStep::Ask) {
                step = self.ask(&mut change, &landed).await;
            }
            if let SettleStep::End(result) = step {
                return result;
            }
            tracing::warn!(%register, attempt, "a replace was not answered with success");
            self.patience.wait(attempt).await;
        }
        Err(change.give_up())
    }

    /// Sends the replace.
    async fn send(&self, change: &mut Replacement<'_>) -> SettleStep {
        let expected = change.before.map_or(Expected::Absent, RefState::expected);
        let answered = match self.storage.replace(change.register, &expected, change.value.clone()).await {
            Replaced::Done(_) => Answered::Done,
            Replaced::Refused => Answered::Refused,
            Replaced::Rejected(error) => {
                change.rejected = Some(error);
                Answered::Rejected
            }
            Replaced::NotSent(error) => {
                let may_wait = error.kind() == ErrorKind::Unavailable;
                change.trouble = Some(error);
                Answered::NotSent { may_wait }
            }
            Replaced::Unanswered(error) => {
                change.trouble = Some(error);
                Answered::Unanswered
            }
        };
        let next = change.doubt.answered(answered);
        change.after(next)
    }

    /// Reads the ref to find out what became of the replace.
    async fn ask<F: Future<Output = Result<bool>> + Send>(
        &self,
        change: &mut Replacement<'_>,
        landed: &(impl Fn(RefRecord) -> F + Send + Sync),
    ) -> SettleStep {
        let register = change.register;
        let now = match self.storage.load(register).await {
            Ok(now) => now,
            Err(error) => return change.later(error),
        };
        if now.as_ref().map(|now| &now.version) == change.before.map(|before| &before.version) {
            let next = change.doubt.unchanged();
            return change.after(next);
        }
        let Some(now) = now else {
            let message = format!("{register} was removed by something other than this program");
            return SettleStep::End(Err(Error::corrupt(message)));
        };
        let record = match RefRecord::decode(&now.value, register.as_str()) {
            Ok(record) => record,
            // Another writer wrote what this build cannot read, perhaps on top of ours. Asking again does not help.
            Err(error) => {
                change.trouble = Some(error);
                return SettleStep::End(Err(change.give_up()));
            }
        };
        match landed(record.clone()).await {
            Ok(true) => SettleStep::End(Ok(Settled::Won)),
            Ok(false) => SettleStep::End(Ok(Settled::Lost(Some(RefState { record, version: now.version })))),
            Err(error) => change.later(error),
        }
    }

    /// Refuses to write anything with a time on it while this machine and the store disagree about what time it is: what
    /// a clock that is wrong stamps hides, or is hidden by, everything that others do meanwhile.
    pub(crate) fn require_agreeing_clocks(&self, name: &dyn std::fmt::Display) -> Result<()> {
        let Some(theirs) = self.storage.clock() else { return Ok(()) };
        let ours = self.clock.now();
        if ours.since(theirs).max(theirs.since(ours)) <= SKEW {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{name} was not changed: this machine's clock says {ours}, and that of {} {theirs}, more than a minute apart; set the one that is wrong",
            self.storage
        )))
    }
}

impl Replacement<'_> {
    fn after(&mut self, next: AfterAnswer) -> SettleStep {
        match next {
            AfterAnswer::Won => SettleStep::End(Ok(Settled::Won)),
            AfterAnswer::Ask => SettleStep::Ask,
            AfterAnswer::SendAgain => {
                self.rejected = None;
                SettleStep::Wait
            }
            // Every replace was answered, and none was done; or nothing was sent.
            AfterAnswer::Failed => SettleStep::End(Err(self
                .rejected
                .take()
                .or(self.trouble.take())
                .unwrap_or_else(|| Error::internal(format!("{} was not replaced, and nothing says why", self.register))))),
        }
    }

    /// What follows when the ref could not be read.
    fn later(&mut self, error: Error) -> SettleStep {
        self.trouble = Some(error);
        SettleStep::Wait
    }

    /// The error of a change after which the store is asked no more.
    fn give_up(&mut self) -> Error {
        let cause = self.trouble.take().or(self.rejected.take());
        let never_sent = self.doubt.was_never_sent();
        match cause {
            Some(error) if never_sent => error,
            cause => {
                let (name, expected) = (self.name, self.before.map_or(0, |before| before.record.seq));
                let error = Error::outcome_unknown(format!(
                    "{name}: a change was sent on top of sequence number {expected}, and the store could not be asked what became of it"
                ));
                match cause {
                    Some(cause) => error.caused_by(cause),
                    None => error,
                }
            }
        }
    }
}
