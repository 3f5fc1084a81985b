//! A long input that is committed part by part.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::apply::Counts;
use super::args::CommitArgs;
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, count};
use super::unpinned::UnpinnedPlaces;
use firnline::{Committed, SnapshotId, WriteSession};

/// When a part is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Every {
    /// After so many operations.
    Operations(u64),
    /// So long after its first operation.
    Span(Duration),
}

impl Every {
    /// Reads `1000`, `30s`, `5m` or `1h`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "is neither a number of operations nor a time such as 30s, 5m or 1h".to_owned();
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let n = digits.parse::<u64>().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        let seconds = match unit {
            "" => return Ok(Self::Operations(n)),
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        // Far less than a clock can hold, and more than anybody waits.
        let span = n.checked_mul(seconds).filter(|span| *span <= 366 * 24 * 3600).ok_or_else(wrong)?;
        Ok(Self::Span(Duration::from_secs(span)))
    }
}

/// How far an input has been committed.
#[derive(Debug)]
pub(super) struct Parts {
    every: Option<Every>,
    /// The tip before the first part, the last part, and whether no other writer came between.
    base: Option<SnapshotId>,
    last: Option<SnapshotId>,
    is_alone: bool,
    /// Lines that have been read.
    pub(super) lines: u64,
    /// When the part that is being staged got its first operation.
    pub(super) started: Option<Instant>,
    commits: u64,
    /// Lines whose operations are committed.
    committed: u64,
    deletes: bool,
    /// Which unpinned files have been told.
    pub(super) unpinned: UnpinnedPlaces,
}

impl Parts {
    pub(super) fn new(every: Option<Every>) -> Self {
        Self {
            every,
            base: None,
            last: None,
            is_alone: true,
            lines: 0,
            started: None,
            commits: 0,
            committed: 0,
            deletes: false,
            unpinned: UnpinnedPlaces::default(),
        }
    }

    /// Whether a part with these operations is large enough.
    pub(super) fn is_full(&self, counts: &Counts) -> bool {
        matches!(self.every, Some(Every::Operations(n)) if counts.total() >= n)
    }

    /// When the part that is being staged has to be committed, if that depends on the time.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.every? {
            Every::Operations(_) => None,
            Every::Span(span) => Some(self.started? + span),
        }
    }

    /// Commits what is staged and prints the id.
    pub(super) async fn commit(
        &mut self,
        context: &mut Context,
        args: &CommitArgs,
        session: WriteSession,
        counts: Counts,
    ) -> Result<(), Stop> {
        self.started = None;
        if counts.total() == 0 {
            return Ok(());
        }
        self.unpinned.tell(context, &session)?;
        let options = args.options_of_part(counts.message(), self.commits + 1)?;
        let Committed { snapshot, is_new, settled, .. } = context.commit(session, options).await?;
        self.committed = self.lines;
        args.tell_settled(context, &settled);
        if is_new {
            let parent = snapshot.record().parents.first().copied();
            self.base = self.base.or(parent);
            self.is_alone &= self.last.is_none() || self.last == parent;
            self.last = Some(snapshot.id());
            self.commits += 1;
            self.deletes |= counts.deletes();
            context.out.line_now(&snapshot.id().to_string())?;
            context.out.note(&counts.words());
        }
        Ok(())
    }

    /// Says what a reader of the last line cannot know: how far an error let it come, or how to undo it all.
    pub(super) fn finish(self, context: &Context, branch: &str, outcome: Result<(), Stop>) -> Result<Verdict, Stop> {
        if outcome.is_err() && self.committed > 0 {
            context
                .out
                .say_item(&AppliedRow { applied: Applied { commits: self.commits, lines: self.committed, next: self.committed + 1 } });
        }
        // A reset to before the first part would undo what others did since as well.
        if let (true, Some(base)) = (self.deletes && self.is_alone, self.base) {
            context.out.say(&format!("undo with: firn reset {branch} {base}"));
        }
        outcome.map(|()| Verdict::Fine)
    }
}

#[derive(Serialize)]
struct AppliedRow {
    applied: Applied,
}

/// What an error left behind.
#[derive(Serialize)]
struct Applied {
    commits: u64,
    /// How many lines are committed.
    lines: u64,
    /// The line to go on from.
    next: u64,
}

impl Show for AppliedRow {
    fn text(&self) -> String {
        let Applied { commits, lines, next } = self.applied;
        format!("{} made, of lines 1 to {lines}; go on from line {next}", count(commits, "commit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_operations_and_a_unit_makes_it_a_time() {
        let span = |seconds| Ok(Every::Span(Duration::from_secs(seconds)));
        assert_eq!(Every::parse("1000"), Ok(Every::Operations(1000)));
        assert_eq!((Every::parse("30s"), Every::parse("5m"), Every::parse("2h")), (span(30), span(300), span(7200)));
        for bad in ["", "0", "0s", "-1", "5 m", "5d", "m", "1.5h", "99999999999h", "18446744073709551616"] {
            assert!(Every::parse(bad).is_err(), "{bad}");
        }
    }
}
