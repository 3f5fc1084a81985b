//! The registers that are neither refs nor the description, and the lists that they name.

use std::sync::atomic::Ordering;

use super::finding::{Finding, FindingKind};
use super::{Verifier, is_damage};
use crate::error::Result;
use crate::snapshot::Retention;
use crate::storage::RegisterName;

impl Verifier<'_> {
    /// Without the register of garbage collection nobody writes. The refs were read before.
    pub(super) async fn check_collection(&self) -> Result<()> {
        let highest = self.highest_epoch.load(Ordering::Relaxed);
        let refs = self.repository.refs();
        match refs.collection_after(highest).await {
            Err(e) if is_damage(&e) => {
                let is_lost = refs.collection().await.is_ok_and(|found| found.version.is_none());
                let kind = if is_lost { FindingKind::Missing } else { FindingKind::Corrupt };
                self.findings.add(Finding::new(kind, RegisterName::gc_state(), e.to_string()));
                Ok(())
            }
            read => read.map(drop),
        }
    }

    /// Reads which versions have expired; what cannot be read of that is a finding, and then no version counts as expired.
    pub(super) async fn read_retention(&self) -> Result<Retention> {
        let error = match self.repository.retention().await {
            Err(e) if is_damage(&e) => e,
            read => return read,
        };
        let refs = self.repository.refs();
        let state = match refs.retention().await {
            Err(e) if is_damage(&e) => {
                self.findings.add(Finding::new(FindingKind::Corrupt, RegisterName::retention(), e.to_string()));
                return Ok(Retention::default());
            }
            read => read?.state,
        };
        let mut found = None;
        for list in state.lists() {
            match refs.read_list(list).await {
                Err(e) if is_damage(&e) => {
                    let name = list.object();
                    let kind = if self.exists(&name).await? { FindingKind::Corrupt } else { FindingKind::Missing };
                    found = Some(self.findings.add(Finding::new(kind, name, e.to_string())));
                }
                read => drop(read?),
            }
        }
        found.map(|_| Retention::default()).ok_or(error)
    }
}
