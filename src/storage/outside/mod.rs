//! Files that others keep, asked over the network: one request with its condition, and its answer.
//!
//! Nothing here decides whether an answer is good enough, or whether a place may be asked: callers do. What is decided here
//! is to which addresses a connection may go ([`address`]), at the moment at which it is made, and that no request is sent
//! anywhere but where it was addressed to: answers that send elsewhere are told to the caller.

pub(in crate::storage) mod address;
mod bucket;
pub(in crate::storage) mod header;
mod web;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::{Error, Result};
use crate::time::Timestamp;

pub(crate) use bucket::{Bucket, Buckets};
pub(crate) use web::Web;

/// What a slow line must carry, in bytes a second, for an answer to be waited for.
const SLOWEST: u64 = 16 << 10;

/// How long an answer of `length` bytes may take from a server that may keep silent for `patience`.
pub(crate) fn time_for(length: u64, patience: Duration) -> Duration {
    patience.saturating_mul(2).saturating_add(Duration::from_secs(length / SLOWEST))
}

/// What the reader grants to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Grant {
    /// Whether requests carry the credentials that the environment names: of a web server, a bearer token.
    pub(crate) credentials: bool,
    /// Whether it may lie at an address that is not public.
    pub(crate) private: bool,
}

/// What is asked of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What<'q> {
    /// Only what is known of it.
    Facts,
    /// All its bytes.
    Whole,
    /// These bytes, at least one.
    Part(&'q Range<u64>),
}

/// Under which condition a file is to be given out at all. The more telling one is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    /// It has this strong `ETag`.
    pub(crate) etag: Option<Vec<u8>>,
    /// It was not changed later than this.
    pub(crate) not_after: Option<Timestamp>,
    /// Not the file as it is now, but this version of it.
    pub(crate) version: Option<String>,
}

/// What an answer tells of the file besides its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct FileFacts {
    pub(crate) size: Option<u64>,
    pub(crate) modified: Option<Timestamp>,
    /// A strong one, without its quotes.
    pub(crate) etag: Option<Vec<u8>>,
    pub(crate) version: Option<String>,
}

/// An answer that is about the file.
pub(crate) struct Answer {
    pub(crate) facts: FileFacts,
    /// Where in the file the first byte of the body lies.
    pub(crate) start: u64,
    /// What is yet to come of the bytes, in order.
    pub(crate) body: BoxStream<'static, Result<Bytes, Unanswered>>,
}

/// Why there is no answer about the file, or not the one that was asked for.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// There is no such file.
    Absent,
    /// It is there, but the condition does not hold.
    Changed,
    /// It ends before the bytes that were asked for; with its length where that was told.
    Short(Option<u64>),
    /// The server does not let us, and says so.
    Denied,
    /// The name leads to an address to which no connection may be made.
    Forbidden(String),
    /// The answer sends elsewhere.
    Elsewhere(String),
    /// The server does not do what was asked, whatever the file; says what.
    Unable(String),
    /// This build or this reader cannot ask; the error says why.
    Unasked(Error),
    /// No answer, or none to the end. Asking again may help.
    Lost(Error),
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self::Lost(error)
    }
}
