//! What is copied, and what became of it.

use std::collections::{HashMap, HashSet};

use super::plan::PlannedRef;
use super::versions::LackingVersion;
use crate::commit::ImportSteps;
use crate::id::SnapshotId;
use crate::refs::{Ref, RefName};

/// A branch or a tag that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRef {
    /// Its name where it comes from.
    pub source: Ref,
    /// Its name where it goes to, of the same kind.
    pub target: Ref,
}

impl SyncRef {
    /// The branch of this name, under the same name.
    pub fn branch(name: RefName) -> Self {
        Self::same(Ref::branch(name))
    }

    /// The tag of this name, under the same name.
    pub fn tag(name: RefName) -> Self {
        Self::same(Ref::tag(name))
    }

    /// The same name on both sides.
    pub fn same(name: Ref) -> Self {
        Self { source: name.clone(), target: name }
    }
}

/// How versions are copied. The default: every branch and every tag, forward only, with all chunks.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[non_exhaustive]
pub struct SyncOptions {
    /// The branches and tags; what is named twice counts once. Default: none named, which means all that the source has, except the branches
    /// on which long operations save what they stored: all whose names are `importing-`, `vendoring-` or `pushing-` and 16 hexadecimal
    /// digits.
    pub refs: Vec<SyncRef>,
    /// Moves branches also to versions that do not have their tips behind them, and tags to other versions. What they showed stays
    /// readable as after every recorded move. Default: `false`.
    pub force: bool,
    /// Copies and changes nothing, and tells what would become of the branches and tags, and how many versions would be copied. Default: `false`.
    pub dry_run: bool,
    /// Copies of what the target lacks only the versions that the branches and tags show, without those before them, and marks them as
    /// shallow: their logs end with them. Default: `false`.
    pub shallow: bool,
    /// Sends no chunks, and fails as `Invalid` if the target lacks any: chunks that no branch and no tag of the target leads to count as
    /// lacking, whether they are stored or not. Default: `false`.
    pub no_chunks: bool,
    /// How often what has arrived is noted on a branch of the target. Default: after 1 GiB or 100,000 chunks.
    pub steps: ImportSteps,
}

impl Default for SyncOptions {
    fn default() -> Self {
        let steps = ImportSteps::default().bytes(1 << 30).keys(100_000);
        Self { refs: Vec::new(), force: false, dry_run: false, shallow: false, no_chunks: false, steps }
    }
}

impl SyncOptions {
    /// Copies this branch or tag, and others only if they are named too.
    #[must_use]
    pub fn with(mut self, one: SyncRef) -> Self {
        self.refs.push(one);
        self
    }

    /// Moves branches and tags wherever the source has them.
    #[must_use]
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Changes nothing.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Leaves out what is before the versions that are shown.
    #[must_use]
    pub fn shallow(mut self) -> Self {
        self.shallow = true;
        self
    }

    /// Sends no chunks.
    #[must_use]
    pub fn no_chunks(mut self) -> Self {
        self.no_chunks = true;
        self
    }

    /// Notes so often what has arrived.
    #[must_use]
    pub fn steps(mut self, steps: ImportSteps) -> Self {
        self.steps = steps;
        self
    }
}

/// What became of a branch or a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefOutcome {
    /// It was made.
    Created,
    /// It was moved.
    Moved,
    /// It showed the version already.
    Unchanged,
    /// It has the version behind its tip, and commits after it; it was left as it is.
    Ahead,
}

impl RefOutcome {
    /// The word in which it is printed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Moved => "moved",
            Self::Unchanged => "unchanged",
            Self::Ahead => "ahead",
        }
    }
}

/// A branch or a tag, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncedRef {
    /// Where it comes from.
    pub source: Ref,
    /// Where it goes to.
    pub target: Ref,
    /// What became of it.
    pub outcome: RefOutcome,
    /// What the target showed before; `None` if there was no such branch or tag.
    pub from: Option<SnapshotId>,
    /// What the source shows.
    pub to: SnapshotId,
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncReport {
    /// The branches and tags, in the order in which they were named, else by kind and name.
    pub refs: Vec<SyncedRef>,
    /// Versions that the target had not.
    pub versions: u64,
    /// Nodes of maps that were sent.
    pub nodes: u64,
    /// Chunks that were sent, also those that were sent again after a garbage collection.
    pub chunks: u64,
    /// Bytes of the chunks that were sent.
    pub chunk_bytes: u64,
    /// Chunks that an earlier run had sent.
    pub reused: u64,
}

/// What the attempts of one run have done.
#[derive(Debug, Default)]
pub(super) struct SyncDone {
    sent: SyncReport,
    versions: HashSet<SnapshotId>,
    moved: HashMap<Ref, SyncedRef>,
}

impl SyncDone {
    /// Notes what one attempt sent.
    pub(super) fn add(&mut self, sent: &SyncReport, versions: &[LackingVersion]) {
        self.versions.extend(versions.iter().map(|version| version.id));
        self.sent.nodes += sent.nodes;
        self.sent.chunks += sent.chunks;
        self.sent.chunk_bytes += sent.chunk_bytes;
        self.sent.reused += sent.reused;
    }

    /// Notes a move. Of several moves of one branch, what it showed before the first counts.
    pub(super) fn moved(&mut self, planned: &PlannedRef) {
        let moved = planned.outcome();
        self.moved.entry(moved.target.clone()).and_modify(|first| first.to = moved.to).or_insert(moved);
    }

    /// What the run did, and what became of these branches and tags.
    pub(super) fn report(&self, planned: &[PlannedRef]) -> SyncReport {
        let refs = planned.iter().map(|planned| {
            let last = planned.outcome();
            self.moved.get(&last.target).cloned().unwrap_or(last)
        });
        SyncReport { refs: refs.collect(), versions: self.versions.len() as u64, ..self.sent.clone() }
    }
}
