//! Strict, canonical DAG-CBOR: one value, one sequence of bytes.
//!
//! Encoding never fails on our own types. Decoding accepts exactly what encoding the decoded value gives back, so every other encoding
//! of a value (longer integers, another order of keys, floats) is refused.
//!
//! There are two interfaces. [`encode`] and [`decode`] take any serde type. [`Writer`] and [`Reader`] go item by item, for nodes of
//! maps: those are written and read by the million, and a reader needs to say at which byte they are wrong.

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
    let value: T = serde_ipld_dagcbor::from_slice(bytes)
        .map_err(|e| Error::corrupt(format!("{what} is not valid DAG-CBOR of its kind: {}", in_words(e))))?;
    // A value that came out of bytes can still be one that has no bytes (a number beyond 64 bits, in a loose type).
    match serde_ipld_dagcbor::to_vec(&value) {
        Ok(again) if again == bytes => Ok(value),
        _ => Err(Error::corrupt(format!("{what} is not in canonical form"))),
    }
}

/// Why decoding failed. The error's own text is that of its `Debug` form.
fn in_words<R>(e: serde_ipld_dagcbor::DecodeError<R>) -> String {
    use serde_ipld_dagcbor::DecodeError as E;
    match e {
        // It may quote names from the bytes.
        E::Msg(text) => crate::text::printable_line(&text).into_owned(),
        E::Read(_) | E::Eof { .. } | E::RequireLength { .. } => "the bytes end inside an item".to_owned(),
        E::Mismatch { name, found } | E::Unsupported { name, found } => format!("0x{found:02x} where {name} is expected"),
        E::LengthMismatch { expect, value, .. } => format!("{value} items where {expect} are expected"),
        E::TrailingData => "bytes follow the value".to_owned(),
        E::IndefiniteSize => "an item of indefinite length".to_owned(),
        E::NonMinimal { .. } | E::UnorderedKey => "an item that is not in canonical form".to_owned(),
        E::RequireUtf8 { .. } => "text that is not UTF-8".to_owned(),
        _ => "a number or a length that is too large".to_owned(),
    }
}
