//! The register of garbage collection, which this build reads so that a later one can collect safely.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::storage::{RegisterName, Storage};

/// The state as later releases write it; absent means epoch 0 and idle.
#[derive(Debug, Deserialize)]
struct GcState {
    v: u32,
    epoch: u64,
    phase: String,
}

/// Refuses to write into a repository in which a later release runs a garbage collection, or has run one.
///
/// A writer that does not take part in that protocol could publish a snapshot of which the collector deletes parts.
pub(crate) async fn require_no_collection(storage: &dyn Storage) -> Result<()> {
    let register = RegisterName::gc_state();
    let Some(found) = storage.load(&register).await? else { return Ok(()) };
    let refuse = |why: String| Err(Error::unsupported(format!("{register} says {why}, which this build does not know; upgrade")));
    match serde_json::from_slice::<GcState>(&found.value) {
        Ok(GcState { v: 1, epoch: 0, phase }) if phase == "idle" => Ok(()),
        Ok(GcState { v: 1, epoch, phase }) => refuse(format!("epoch {epoch}, phase {phase}")),
        Ok(GcState { v, .. }) => refuse(format!("version {v}")),
        Err(e) => refuse(format!("something unreadable ({e})")),
    }
}
