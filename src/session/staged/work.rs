//! The work that staged changes make: sorting them into runs, moving runs to scratch space, merging runs. It is done on
//! threads that may block, while the session goes on.
//!
//! Work reads runs and makes new ones; the old ones stay until the new ones are put in their place. So work that fails, or whose
//! result is never fetched, loses no change.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

use super::deleted::{Mask, PrefixDeletes};
use super::merge::Merge;
use super::run::{RunBuilder, StagedRun};
use crate::blocking::{Blocking, blocking};
use crate::error::Result;
use crate::scratch::Scratch;

/// Neighbouring runs, and the run that replaces them.
pub(super) type RunReplacement = (Vec<Arc<StagedRun>>, Option<StagedRun>);

/// The result of work.
pub(super) struct Done {
    pub(super) replaced: Vec<RunReplacement>,
    /// The scratch file, if more can be written to it.
    pub(super) scratch: Option<Scratch>,
}

/// Work under way. Any number of callers may wait for its end; the first that asks gets its result.
pub(super) struct Work {
    job: Shared<BoxFuture<'static, WorkResult>>,
    /// The runs that it reads. No other work may replace them.
    runs: Vec<Arc<StagedRun>>,
}

type WorkResult = Arc<Mutex<Option<Result<Done>>>>;

impl Work {
    fn new(job: Blocking<Done>, runs: Vec<Arc<StagedRun>>) -> Self {
        Self { job: job.map(|done| Arc::new(Mutex::new(Some(done)))).boxed().shared(), runs }
    }

    /// Waits for the end.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Unpin + use<> {
        self.job.clone().map(drop)
    }

    /// The result, if the work has ended and nobody took it.
    pub(super) fn result(&self) -> Option<Result<Done>> {
        self.job.clone().now_or_never()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the run is being worked on.
    pub(super) fn holds(&self, run: &Arc<StagedRun>) -> bool {
        self.runs.iter().any(|held| Arc::ptr_eq(held, run))
    }

    /// Begins to write `runs` as blocks, and to move them to scratch space if they take more than `limit` bytes as such.
    pub(super) fn tidy(runs: Vec<Arc<StagedRun>>, limit: usize, directory: &Path, scratch: Option<Scratch>) -> Self {
        let (inputs, directory) = (runs.clone(), directory.to_owned());
        let job = blocking("sorting staged changes", move || {
            let mut tidied: Vec<StagedRun> = inputs.iter().map(|run| run.in_blocks()).collect();
            let mut scratch = scratch;
            if tidied.iter().map(StagedRun::held).sum::<usize>() > limit {
                let scratch = Scratch::or_new(&mut scratch, &directory)?;
                tidied.iter_mut().try_for_each(|run| run.spill(scratch))?;
            }
            let replaced = inputs.into_iter().zip(tidied).map(|(old, new)| (vec![old], Some(new))).collect();
            Ok(Done { replaced, scratch })
        });
        Self::new(job, runs)
    }

    /// Begins to merge `runs`, which stand one after the other, into one of `level`, with at most `limit` bytes of it in memory.
    /// What `deleted` hides of them is left out.
    pub(super) fn merge(runs: Vec<Arc<StagedRun>>, level: u32, deleted: PrefixDeletes, limit: usize, directory: &Path) -> Self {
        let (inputs, directory) = (runs.clone(), directory.to_owned());
        let job = blocking("merging staged changes", move || {
            let merged = merged(&inputs, level, &deleted, limit, &directory)?;
            // The runs were in an older scratch file, which is removed with the last of them.
            Ok(Done { replaced: vec![(inputs, merged)], scratch: None })
        });
        Self::new(job, runs)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "work on {} runs", self.runs.len())
    }
}

fn merged(runs: &[Arc<StagedRun>], level: u32, deleted: &PrefixDeletes, limit: usize, directory: &Path) -> Result<Option<StagedRun>> {
    let (mut builder, mut scratch, mut mask) = (RunBuilder::default(), None, Mask::default());
    let mut merge = Merge::new(runs, "")?;
    while merge.next()? {
        if mask.hides(deleted, &merge.key, merge.stamp) {
            continue;
        }
        builder.push(&merge.key, &merge.value);
        if builder.held() > limit {
            builder.spill(Scratch::or_new(&mut scratch, directory)?)?;
        }
    }
    // Every prefix delete so far has been applied.
    Ok(builder.finish(deleted.stamp(), level))
}
