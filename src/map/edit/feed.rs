//! Edits as they come: in batches from wherever they are kept, one at a time to the pass that applies them.

use std::vec;

use crate::error::Result;
use crate::key::MapKey;
use crate::map::build::check_ascending;

/// Sets (`Some`) or removes (`None`) what is under a key.
pub(crate) type Edit<P> = (MapKey, Option<P>);

/// Edits in the order of their keys, a batch at a time.
pub(crate) trait Edits<P>: Send {
    /// The next few edits, as many as may be held in memory; none when there are no more.
    fn next_batch(&mut self) -> impl Future<Output = Result<Vec<Edit<P>>>> + Send;
}

/// All of them in one batch.
impl<P: Send> Edits<P> for Vec<Edit<P>> {
    async fn next_batch(&mut self) -> Result<Vec<Edit<P>>> {
        Ok(std::mem::take(self))
    }
}

/// Hands out edits one at a time, and checks their order.
pub(super) struct Feed<P, E> {
    source: E,
    batch: vec::IntoIter<Edit<P>>,
    last: Option<MapKey>,
}

impl<P: Send, E: Edits<P>> Feed<P, E> {
    pub(super) fn new(source: E) -> Self {
        Self { source, batch: Vec::new().into_iter(), last: None }
    }

    /// Whether a batch must be fetched before another edit can be seen.
    pub(super) fn is_dry(&self) -> bool {
        self.batch.as_slice().is_empty()
    }

    /// Fetches the next batch when the last one is used up; `false` when there is none. Keys that do not ascend are
    /// `Invalid`.
    pub(super) async fn fetch(&mut self) -> Result<bool> {
        let batch = self.source.next_batch().await?;
        check_ascending(self.last.iter().chain(batch.iter().map(|(key, _)| key)))?;
        if let Some((last, _)) = batch.last() {
            self.last = Some(last.clone());
        }
        self.batch = batch.into_iter();
        Ok(!self.is_dry())
    }

    /// The keys of the batch that are left.
    pub(super) fn keys(&self) -> Vec<MapKey> {
        self.batch.as_slice().iter().map(|(key, _)| key.clone()).collect()
    }

    /// The key of the next edit, if it has been fetched.
    pub(super) fn peek(&self) -> Option<&MapKey> {
        self.batch.as_slice().first().map(|(key, _)| key)
    }

    /// Takes the next edit, if it has been fetched.
    pub(super) fn take(&mut self) -> Option<Edit<P>> {
        self.batch.next()
    }
}
