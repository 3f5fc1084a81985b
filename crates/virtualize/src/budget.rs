//! How much of one file is held in memory, however its parts refer to each other.

use std::cell::Cell;

use firnline::{Error, Result};
use serde_json::Value;

/// So many bytes of names, attributes and copied values are held of one file.
const MOST_HELD: u64 = 256 << 20;

/// What is left of the memory that one file may take.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: Cell<u64>,
    chunks: Cell<u64>,
}

impl Budget {
    /// For a file of `len` bytes. Chunks have at least a few bytes of it, so that there are no more than so many unless tables of chunks
    /// lie
    /// upon each other.
    pub(crate) const fn of(len: u64) -> Self {
        Self { bytes: Cell::new(MOST_HELD), chunks: Cell::new((1 << 22) + len / 4) }
    }

    /// Takes bytes; `Unsupported` when there are not as many left.
    pub(crate) fn take(&self, bytes: u64) -> Result<()> {
        let left = self.bytes.get().checked_sub(bytes).ok_or_else(|| {
            let most = MOST_HELD >> 20;
            Error::unsupported(format!("has more than {most} MiB of names, attributes and values to be copied; leave variables out"))
        })?;
        self.bytes.set(left);
        Ok(())
    }

    /// Takes what a value of JSON needs.
    pub(crate) fn take_json(&self, value: &Value) -> Result<()> {
        let own = size_of::<Value>() as u64;
        let one = |value: &Value| own + if let Value::String(text) = value { text.len() as u64 } else { 0 };
        self.take(if let Value::Array(all) = value { all.iter().map(one).sum() } else { one(value) })
    }

    /// Takes places in tables of chunks; `Unsupported` when there are not as many left.
    pub(crate) fn take_chunks(&self, chunks: u64) -> Result<()> {
        let left = self.chunks.get().checked_sub(chunks);
        self.chunks.set(left.ok_or_else(|| Error::unsupported("has more chunks than a file of its length has; leave variables out"))?);
        Ok(())
    }
}
