//! Collections between the steps of a history: whatever they remove, the model does not notice.

use std::sync::atomic::Ordering;
use std::time::Duration;

use firnline::{ErrorKind, GcOptions, OpenOptions, Repository};

use super::history::History;

impl History<'_> {
    /// Removes all garbage. Between two steps no session is open, so nobody needs any of it.
    pub(crate) async fn collect(&mut self) {
        // By the clock of the machine, by which the store dates what it holds.
        let repository = Repository::open_storage(self.storage.clone(), OpenOptions::default().without_pauses()).await.unwrap();
        let report = match repository.gc(&GcOptions::default().grace(Duration::ZERO)).await {
            Ok(report) => report,
            // Some stores of this test remove nothing.
            Err(e) if e.kind() == ErrorKind::Unsupported => return,
            Err(e) => panic!("seed {}: {e:?}", self.seed),
        };
        assert_eq!(report.failed, 0, "seed {}", self.seed);
        let removed: u64 = report.removed.values().map(|counts| counts.objects).sum();
        self.coverage.removed.fetch_add(removed, Ordering::Relaxed);
        assert_eq!(repository.plan_gc(&GcOptions::default().grace(Duration::ZERO)).await.unwrap().garbage_total().objects, 0);
    }
}
