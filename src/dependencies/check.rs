//! Are the files still as they were recorded?

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Error, Result};
use crate::snapshot::{Dependency, Snapshot};
use crate::virtuals::FileCheck;

/// How many files are asked at once.
const ASKED: usize = 32;
/// How many files are read whole at once.
const READ: usize = 8;

/// Which files are checked, and how thoroughly.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CheckOptions {
    /// Check a part of the files only; `None`: all.
    pub sample: Option<Sample>,
    /// Verify locked digests, which reads each of those files whole. Otherwise they are compared like other files, by what their
    /// source tells.
    pub digests: bool,
}

/// A part of the files: the same ones whenever it is drawn from the same files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// How many in a hundred: more than 0, at most 100.
    pub percent: f64,
    /// Another number draws other files.
    pub seed: u64,
}

/// A file that was checked.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckedDependency {
    /// The file, and what is recorded of it.
    pub dependency: Dependency,
    /// What became of it.
    pub check: FileCheck,
}

impl Sample {
    /// The hashes of files below which they are drawn.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a part of the range of a hash"
    )]
    fn limit(self) -> Result<u64> {
        if !(self.percent > 0.0 && self.percent <= 100.0) {
            return Err(Error::invalid(format!("a sample of {} % is not possible; it is more than 0 % and at most 100 %", self.percent)));
        }
        Ok((self.percent / 100.0 * u64::MAX as f64) as u64)
    }

    fn hash(self, dependency: &Dependency) -> u64 {
        xxh3_64_with_seed(dependency.file.as_map_key().as_str().as_bytes(), self.seed)
    }
}

impl Snapshot {
    /// Checks whether the external files are as they were recorded, in the order of the files map.
    ///
    /// Asks the source of each file once, at most 32 at a time. A sample has at least one file. What is wrong with a file is a part of
    /// the answer, not an error. `Invalid` when the sample is not more than 0 % and at most 100 %. The stream does not borrow the
    /// snapshot, and ends after an error. Changes nothing, so it can be cancelled at any moment.
    pub fn check_dependencies(&self, options: &CheckOptions) -> Result<impl Stream<Item = Result<CheckedDependency>> + Send + use<>> {
        let drawn = options.sample.map(|sample| Ok::<_, Error>((sample, sample.limit()?))).transpose()?;
        let (snapshot, digests) = (self.clone(), options.digests);
        let at_once = if digests { READ } else { ASKED };
        let checks = draw(self.dependencies(), drawn).map(move |dependency| {
            let snapshot = snapshot.clone();
            async move {
                let dependency = dependency?;
                let check = if digests {
                    snapshot.check_dependency(&dependency).await?
                } else {
                    snapshot.check_dependency_by_facts(&dependency).await?
                };
                Ok(CheckedDependency { dependency, check })
            }
        });
        Ok(checks.buffered(at_once))
    }
}

/// The files that a sample draws: those whose hash is below its limit; if that is none, the one with the lowest hash.
fn draw(
    files: impl Stream<Item = Result<Dependency>> + Send,
    sample: Option<(Sample, u64)>,
) -> impl Stream<Item = Result<Dependency>> + Send {
    let mut lowest: Option<(u64, Dependency)> = None;
    let mut is_drawn = sample.is_none();
    let ended = files.map_ok(Some).chain(stream::once(async { Ok(None) }));
    ended.try_filter_map(move |file| {
        let drawn = match (file, sample) {
            (Some(file), None) => Some(file),
            (Some(file), Some((sample, limit))) => {
                let hash = sample.hash(&file);
                if hash <= limit {
                    (is_drawn, lowest) = (true, None);
                    Some(file)
                } else {
                    if !is_drawn && lowest.as_ref().is_none_or(|(least, _)| hash < *least) {
                        lowest = Some((hash, file));
                    }
                    None
                }
            }
            (None, _) => lowest.take().map(|(_, file)| file),
        };
        async move { Ok(drawn) }
    })
}
