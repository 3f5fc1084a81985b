//! One conditional replace of a ref, and what became of it.
//!
//! Only success is taken at its word. Clients retry by themselves, answers get lost, and so a refusal or an error is
//! settled by reading the ref back: unchanged means "not applied yet", and the same replace is sent again; otherwise
//! the ref itself tells whether ours is in its past.

use std::time::Duration;

use super::{Ref, RefRecord, RefState, Refs};
use crate::error::{Error, Result};
use crate::storage::{Expected, Replaced};
use crate::time::SKEW;

/// How long a writer goes on asking before it calls an outcome unknown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How many times a replace is sent, and how many times the store is asked what became of it.
    pub(crate) attempts: u32,
    /// The pause after the first failure; doubled after each, up to a hundred times as long.
    pub(crate) pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 8, pause: Duration::from_millis(20) }
    }
}

impl Patience {
    /// Waits before attempt number `attempt`, counted from 0. The one place that waits: a replayed test sets the pause to zero.
    pub(crate) async fn wait(self, attempt: u32) {
        let factor = 1u32.checked_shl(attempt).unwrap_or(100).min(100);
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause * factor).await;
        }
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

impl Refs {
    /// Replaces a ref by `next` if it still is what was read, and finds out whether that happened.
    ///
    /// `landed` tells of a value read later whether ours is in its past. `OutcomeUnknown` when the store cannot be
    /// asked: the replace may have happened, or may still.
    pub(crate) async fn replace_settled<F: Future<Output = Result<bool>> + Send>(
        &self,
        name: &Ref,
        before: Option<&RefState>,
        next: &RefRecord,
        landed: impl Fn(RefRecord) -> F + Send + Sync,
    ) -> Result<Settled> {
        self.require_agreeing_clocks(name)?;
        let register = name.register();
        let expected = before.map_or(Expected::Absent, RefState::expected);
        let value = next.encode();
        let mut last = None;
        for attempt in 0..self.patience.attempts {
            match self.storage.replace(&register, &expected, value.clone()).await {
                Ok(Replaced::Done(_)) => return Ok(Settled::Won),
                Ok(Replaced::Refused) => {}
                // Nothing was sent, or nothing of it can have happened.
                Err(e) if !e.is_retryable() && attempt == 0 => return Err(e),
                Err(e) => last = Some(e),
            }
            match self.storage.load(&register).await {
                Ok(now) if now.as_ref().map(|n| &n.version) == before.map(|b| &b.version) => {}
                Ok(None) => return Err(Error::corrupt(format!("{register} was removed by something other than this program"))),
                Ok(Some(now)) => {
                    let record = match RefRecord::decode(&now.value, register.as_str()) {
                        Ok(record) => record,
                        // Somebody wrote what this build cannot read, perhaps on top of ours.
                        Err(e) => {
                            last = Some(e);
                            break;
                        }
                    };
                    match landed(record.clone()).await {
                        Ok(true) => return Ok(Settled::Won),
                        Ok(false) => return Ok(Settled::Lost(Some(RefState { record, version: now.version }))),
                        Err(e) => last = Some(e),
                    }
                }
                Err(e) => last = Some(e),
            }
            tracing::warn!(%register, attempt, "a replace was not answered with success; asking what became of it");
            self.patience.wait(attempt).await;
        }
        let expected = before.map_or(0, |b| b.record.seq);
        let error = Error::outcome_unknown(format!(
            "{name}: a change was sent on top of sequence number {expected}, and the store could not be asked what became of it"
        ));
        Err(match last {
            Some(cause) => error.caused_by(cause),
            None => error,
        })
    }

    /// Refuses to write anything with a time on it while this machine and the store disagree about what time it is: what
    /// a clock that is wrong stamps hides, or is hidden by, everything that others do meanwhile.
    fn require_agreeing_clocks(&self, name: &Ref) -> Result<()> {
        let Some(theirs) = self.storage.clock() else { return Ok(()) };
        let ours = self.clock.now();
        if ours.since(theirs).max(theirs.since(ours)) <= SKEW {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{name} was not changed: this machine's clock says {ours}, and that of {} {theirs}, more than 5 minutes apart; set the one that is wrong",
            self.storage
        )))
    }
}
