//! The header: the version and the roots, as strict DAG-CBOR.

use serde::{Deserialize, Serialize};

use crate::dagcbor;
use crate::error::{Error, Result};
use crate::id::Cid;
use crate::varint;

use super::MAX_HEADER;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    roots: Vec<Cid>,
    version: u64,
}

/// The bytes of the header of a version 1 file, without their length; `Invalid` for no root or too many.
pub(super) fn encode(roots: &[Cid]) -> Result<Vec<u8>> {
    if roots.is_empty() {
        return Err(Error::invalid("a CAR file needs at least one root"));
    }
    let bytes = dagcbor::encode(&Header { roots: roots.to_vec(), version: 1 });
    if bytes.len() > MAX_HEADER {
        return Err(Error::invalid(format!("a CAR file with {} roots has a header of more than {MAX_HEADER} bytes", roots.len())));
    }
    Ok(bytes)
}

/// The roots that a header of version 1 names; `Corrupt` when it is not canonical, has other fields or no root.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Cid>> {
    let header: Header = dagcbor::decode(bytes, "the header")?;
    match header {
        Header { version: 1, roots } if !roots.is_empty() => Ok(roots),
        Header { version: 1, .. } => Err(Error::corrupt("the header names no root")),
        Header { version, .. } => Err(Error::unsupported(format!("the header says version {version}"))),
    }
}

/// Length of the header of a version 1 file with its length prefix: where the first section begins. `Invalid` for no
/// root or too many.
pub(crate) fn section_len(roots: &[Cid]) -> Result<u64> {
    let len = encode(roots)?.len() as u64;
    Ok(varint::len(len) + len)
}
