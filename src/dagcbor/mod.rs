//! Strict, canonical DAG-CBOR: one value, one sequence of bytes.
//!
//! Encoding never fails on our own types. Decoding accepts exactly what encoding the decoded value gives back, so
//! whatever another encoder could have written differently (longer integers, other key order, floats) is refused.
//!
//! Two doors lead here. [`encode`] and [`decode`] take any serde type. [`Writer`] and [`Reader`] go item by item, for
//! nodes of maps: those are written and read by the million, and a reader needs to say at which byte they are wrong.

mod read;
#[cfg(test)]
mod tests;
mod write;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

pub(crate) use read::{Malformed, Reader};
pub(crate) use write::Writer;

/// The canonical bytes of `value`.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("our own types hold nothing that DAG-CBOR cannot say")
}

/// Reads the one value whose canonical form is `bytes`; `what` names the object in the error.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    let value: T =
        serde_ipld_dagcbor::from_slice(bytes).map_err(|e| Error::corrupt(format!("{what} is not valid DAG-CBOR")).caused_by(e))?;
    // A value that came out of bytes can still be one that has no bytes (a number beyond 64 bits, in a loose type).
    match serde_ipld_dagcbor::to_vec(&value) {
        Ok(again) if again == bytes => Ok(value),
        _ => Err(Error::corrupt(format!("{what} is not in canonical form"))),
    }
}
