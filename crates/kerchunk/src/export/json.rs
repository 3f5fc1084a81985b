//! Reference sets as JSON, version 1.

use std::io::Write as _;

use data_encoding::BASE64;
use firnline::{Error, Result, Snapshot};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::options::{ExportOptions, ExportSummary};
use super::place::ByteRange;
use super::walk::{ExportEntry, ExportValue, ExportWalk};

/// How much is written at once, in bytes.
const BUFFER: usize = 256 << 10;
/// What marks a value as base64.
pub(super) const MARK: &str = "base64:";

/// Writes what a snapshot holds as a kerchunk reference set: JSON of version 1, one reference a line.
///
/// A reference is `[url, offset, length]`. Local files are bare paths, as `fsspec` takes them. Values that the repository stores
/// stand in the set itself, as text if they are printable, else as base64: metadata whatever its length, others up to the
/// [limit](ExportOptions::inline_limit). A set says nothing of the state in which its files were pinned. Zarr v2 metadata is written
/// byte for byte, Zarr v3 metadata as the options say. `out` is flushed, not shut down.
///
/// Reads the manifest once, and an external file only if Zarr v3 metadata lies in it. Takes memory for one node of the manifest and
/// the values that are being read.
///
/// `Invalid` for a stored chunk above the limit; `Unsupported`, naming the key and the reason, for what Zarr v2 or a reference cannot
/// express; `NotFound` if nothing lies below the prefix; `Unavailable` if `out` cannot be written. After an error, and when the future
/// is dropped, `out` holds a part of the set.
pub async fn export_json<W: AsyncWrite + Unpin>(snapshot: &Snapshot, options: &ExportOptions, out: &mut W) -> Result<ExportSummary> {
    let mut walk = ExportWalk::new(snapshot, options).await?;
    let mut buffer = Vec::with_capacity(BUFFER);
    buffer.extend_from_slice(br#"{"version":1,"refs":{"#);
    let mut separator = "\n";
    while let Some(entry) = walk.next().await? {
        buffer.extend_from_slice(separator.as_bytes());
        separator = ",\n";
        append(&mut buffer, &entry)?;
        if buffer.len() >= BUFFER / 2 {
            out.write_all(&buffer).await.map_err(lost)?;
            buffer.clear();
        }
    }
    buffer.extend_from_slice(b"\n}}\n");
    out.write_all(&buffer).await.map_err(lost)?;
    out.flush().await.map_err(lost)?;
    Ok(walk.finish())
}

fn lost(error: std::io::Error) -> Error {
    Error::unavailable("the reference set cannot be written").caused_by(error)
}

fn append(buffer: &mut Vec<u8>, entry: &ExportEntry) -> Result<()> {
    let written = append_string(buffer, &entry.key).and_then(|()| {
        buffer.push(b':');
        append_value(buffer, &entry.value)
    });
    written.map_err(|e| Error::internal("a reference cannot be written").caused_by(e))
}

fn append_value(buffer: &mut Vec<u8>, value: &ExportValue) -> std::io::Result<()> {
    match value {
        ExportValue::Range(ByteRange { place, offset, length }) => {
            buffer.push(b'[');
            append_string(buffer, place)?;
            write!(buffer, ",{offset},{length}]")
        }
        ExportValue::Bytes(bytes) => {
            if let Some(text) = printable(bytes) {
                return append_string(buffer, text);
            }
            write!(buffer, "\"{MARK}")?;
            BASE64.encode_write(bytes, &mut WriteText(buffer)).map_err(std::io::Error::other)?;
            write!(buffer, "\"")
        }
    }
}

fn append_string(buffer: &mut Vec<u8>, text: &str) -> std::io::Result<()> {
    serde_json::to_writer(buffer, text).map_err(Into::into)
}

/// The value as text, if it is text that a person can read and that no reader takes for base64.
fn printable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_plain = text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r'));
    (is_plain && !text.starts_with(MARK)).then_some(text)
}

/// Appends ASCII text to bytes.
struct WriteText<'b>(&'b mut Vec<u8>);

impl std::fmt::Write for WriteText<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
