//! Writes a version 1 file, many sections at a time.

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::error::{Error, ErrorKind, Result};
use crate::id::Cid;
use crate::varint;

use super::{MAX_BLOCK, header};

/// Sections end to end, made where the blocks are and written by a [`CarWriter`]. The same blocks give the same bytes.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    bytes: Vec<u8>,
    count: u64,
}

impl Sections {
    /// Lets go of the sections, and keeps the room that they took.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// Appends a block, which the caller knows to hash to `cid`. `Invalid` above 2 MiB.
    pub(crate) fn push(&mut self, cid: &Cid, data: &[u8]) -> Result<()> {
        if data.len() > MAX_BLOCK {
            return Err(Error::invalid(format!("block {cid} has {} bytes; a CAR file takes at most {MAX_BLOCK}", data.len())));
        }
        let cid = cid.to_bytes();
        varint::put(&mut self.bytes, (cid.len() + data.len()) as u64);
        self.bytes.extend(cid);
        self.bytes.extend(data);
        self.count += 1;
        Ok(())
    }

    /// Their lengths together, in bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// How many sections there are.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }
}

/// Writes sections in the order given.
#[derive(Debug)]
pub(crate) struct CarWriter<W> {
    out: W,
    offset: u64,
}

impl<W: AsyncWrite + Send + Unpin> CarWriter<W> {
    /// Writes the header; `Invalid` for no root or more than fit into 64 KiB.
    pub(crate) async fn start(out: W, roots: &[Cid]) -> Result<Self> {
        let header = header::encode(roots)?;
        let mut head = Vec::new();
        varint::put(&mut head, header.len() as u64);
        head.extend(header);
        let mut writer = Self { out, offset: 0 };
        writer.put(&head).await?;
        Ok(writer)
    }

    /// Writes sections, and returns where the first begins. `Unavailable`, naming the offset, when the destination fails: then
    /// the file is to be thrown away.
    pub(crate) async fn write(&mut self, sections: &Sections) -> Result<u64> {
        let begin = self.offset;
        self.put(&sections.bytes).await?;
        Ok(begin)
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).await.map_err(|e| failed(self.offset, e))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Flushes; returns the destination and the length of the file.
    pub(crate) async fn finish(mut self) -> Result<(W, u64)> {
        self.out.flush().await.map_err(|e| failed(self.offset, e))?;
        Ok((self.out, self.offset))
    }
}

fn failed(offset: u64, e: std::io::Error) -> Error {
    Error::new(ErrorKind::of_system(&e), format!("writing the CAR file failed at byte {offset}")).caused_by(e)
}
