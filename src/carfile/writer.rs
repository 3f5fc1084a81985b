//! Writes a version 1 file, section by section.

use tokio::io::AsyncWrite;

use crate::error::{Error, Result};
use crate::id::Cid;

use super::{MAX_BLOCK, header};

/// Writes blocks in the order given. The same calls give the same bytes.
#[derive(Debug)]
pub(crate) struct CarWriter<W> {
    sections: iroh_car::CarWriter<W>,
    offset: u64,
}

impl<W: AsyncWrite + Send + Unpin> CarWriter<W> {
    /// Writes the header; `Invalid` for no root or more than fit into 64 KiB.
    pub(crate) async fn start(out: W, roots: &[Cid]) -> Result<Self> {
        let len = header::section_len(roots)?;
        let mut sections = iroh_car::CarWriter::new(iroh_car::CarHeader::new_v1(roots.to_vec()), out);
        let written = sections.write_header().await.map_err(|e| failed(0, e))?;
        debug_assert_eq!(written as u64, len);
        Ok(Self { sections, offset: len })
    }

    /// Writes a block, which the caller knows to hash to `cid`, and returns where its section begins. `Invalid` above
    /// 2 MiB; `Unavailable`, naming the offset, when the destination fails: then the file is to be thrown away.
    pub(crate) async fn block(&mut self, cid: &Cid, data: &[u8]) -> Result<u64> {
        if data.len() > MAX_BLOCK {
            return Err(Error::invalid(format!("block {cid} has {} bytes; a CAR file takes at most {MAX_BLOCK}", data.len())));
        }
        let begin = self.offset;
        self.sections.write(*cid, data).await.map_err(|e| failed(begin, e))?;
        self.offset += super::section_len(cid, data.len() as u64);
        Ok(begin)
    }

    /// Flushes; returns the destination and the length of the file.
    pub(crate) async fn finish(self) -> Result<(W, u64)> {
        let out = self.sections.finish().await.map_err(|e| failed(self.offset, e))?;
        Ok((out, self.offset))
    }
}

fn failed(offset: u64, e: iroh_car::Error) -> Error {
    let error = Error::unavailable(format!("writing the CAR file failed at byte {offset}"));
    match e {
        iroh_car::Error::Io(e) => error.caused_by(e),
        e => error.caused_by(e),
    }
}
