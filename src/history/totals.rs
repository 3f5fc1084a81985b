//! How much a snapshot holds.

use super::ancestry::Line;
use crate::error::Result;
use crate::snapshot::Snapshot;

/// How much a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Keys.
    pub keys: u64,
    /// The sum of the sizes of all values, in bytes: also of virtual ones, and of equal chunks as often as they are named.
    pub bytes: u64,
    /// External files that it depends on.
    pub files: u64,
    /// Commits before it on the first-parent line, as far as this repository knows them.
    pub ancestors: u64,
}

impl Snapshot {
    /// Counts what the snapshot holds, from the roots of its maps alone.
    pub async fn totals(&self) -> Result<Totals> {
        let line = Line::of(self);
        let ancestors = async {
            // A version that was imported alone came without its history.
            let known = if line.is_shallow().await? { 0 } else { line.history().totals().await?.entries };
            Ok(known)
        };
        let (manifest, file_map) = (self.manifest(), self.file_map());
        let (manifest, files, ancestors) = match futures::try_join!(manifest.totals(), file_map.totals(), ancestors) {
            Err(error) => return Err(self.explained(error).await),
            totals => totals?,
        };
        Ok(Totals { keys: manifest.entries, bytes: manifest.bytes, files: files.entries, ancestors })
    }
}
