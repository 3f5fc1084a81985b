//! Where the readers of both forms put what they read.

use bytes::Bytes;
use firnline::{Error, Key, Result, VirtualRefs};
use tokio::sync::mpsc;

use super::KerchunkImport;
use super::batch::Batch;
use super::document::compact;
use crate::location::ReferenceBase;
use crate::zarr_v2::is_document;

/// Gathers references and values into batches, and sends them.
#[derive(Debug)]
pub(super) struct Sink {
    base: ReferenceBase,
    /// Empty, or with its final `/`.
    prefix: String,
    is_compact: bool,
    batch: Batch,
    sender: mpsc::Sender<Batch>,
}

impl Sink {
    pub(super) fn new(base: ReferenceBase, options: &KerchunkImport, sender: mpsc::Sender<Batch>) -> Self {
        let prefix = options.prefix.as_str().to_owned();
        Self { base, prefix, is_compact: options.compact_metadata, batch: Batch::default(), sender }
    }

    /// Takes a reference to `length` bytes, from `offset` on, of what the set calls `place`; the whole of it if no range is given.
    /// `rendered` gives the place where it differs from how it is written.
    pub(super) fn reference(
        &mut self,
        key: &str,
        place: &str,
        range: Option<(u64, u64)>,
        rendered: impl FnOnce() -> Result<Option<String>>,
    ) -> Result<()> {
        let base = &self.base;
        let url = self.batch.number(place, || {
            let rendered = rendered()?;
            Ok(base.url(rendered.as_deref().unwrap_or(place))?.into_owned())
        });
        let url = url.map_err(|e| e.context(self.shown_key(key)))?;
        let (offset, length) = range.unwrap_or((0, VirtualRefs::TO_END));
        if length == VirtualRefs::TO_END && range.is_some() {
            return Err(Error::invalid(format!("{}: {length} bytes are no valid length", self.shown_key(key))));
        }
        self.batch.add_reference(&self.prefix, key, url, offset, length);
        self.flush_if_full()
    }

    /// Takes a value that the set itself holds.
    pub(super) fn value(&mut self, key: &str, value: Bytes) -> Result<()> {
        let key = Key::new(format!("{}{key}", self.prefix))?;
        let value = if self.is_compact && is_document(key.last_segment()) { compact(&value).map_or(value, Bytes::from) } else { value };
        self.batch.add_value(key, value);
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.batch.is_full() { self.flush() } else { Ok(()) }
    }

    /// Sends what is there.
    pub(super) fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        // Nobody listens only after an error, which is the one that is told.
        self.sender.blocking_send(batch).map_err(|_| Error::internal("what was read is no longer wanted"))
    }

    /// A key of the set, as messages show it: where it would be staged.
    pub(super) fn shown_key(&self, key: &str) -> String {
        let shown: String = key.chars().take(200).collect();
        format!("{}{}", self.prefix, firnline::printable_line(&shown))
    }
}
