//! Requests for external files over the network: one request with its condition, and its answer.
//!
//! Callers decide whether a place may be asked, and whether an answer is good enough. This module decides to which addresses a
//! connection may go ([`address`]), at the moment when it is made. It follows no redirects: it returns them to the caller.

pub(in crate::storage) mod address;
mod bucket;
pub(in crate::storage) mod header;
mod web;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Error, Result};
use crate::storage::credentials::{NamedSet, ServerSettings};
use crate::time::Timestamp;

pub(crate) use bucket::{Bucket, Buckets};
pub(crate) use web::Web;

/// The slowest transfer for which an answer is waited for, in bytes a second.
const SLOWEST: u64 = 16 << 10;

/// How long an answer of `length` bytes may take from a server that may keep silent for `patience`.
pub(crate) fn time_for(length: u64, patience: Duration) -> Duration {
    patience.saturating_mul(2).saturating_add(Duration::from_secs(length / SLOWEST))
}

/// What the reader grants to requests for a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Grant {
    /// Which credentials requests carry.
    pub(crate) credentials: Granted,
    /// What the set that the entry names says of the server, whatever kind of set it is.
    pub(crate) settings: ServerSettings,
    /// Whether the place may be at an address that is not public.
    pub(crate) private: bool,
}

/// The credentials that requests for a place carry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) enum Granted {
    #[default]
    Nothing,
    /// Those that the environment names: of a web server, a bearer token.
    Environment,
    /// Those with which the repository is reached.
    Repository,
    /// A set of the reader.
    Set(NamedSet),
}

impl Granted {
    /// The set, if requests carry credentials that may change.
    pub(crate) const fn set(&self) -> Option<&NamedSet> {
        match self {
            Self::Set(named) => Some(named),
            Self::Nothing | Self::Environment | Self::Repository => None,
        }
    }
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

/// The condition under which the server is to return the file. The `ETag` is sent if there is one, else the date.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    /// It has this strong `ETag`.
    pub(crate) etag: Option<Vec<u8>>,
    /// It was not changed later than this.
    pub(crate) not_after: Option<Timestamp>,
    /// Not the file as it is now, but this version of it.
    pub(crate) version: Option<String>,
}

/// The facts about the file in an answer, besides its bytes.
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
    /// The bytes that follow, in order.
    pub(crate) body: BoxStream<'static, Result<Bytes, Unanswered>>,
    /// Held while the body is read, where the requests to one server are counted.
    #[expect(dead_code, reason = "it is dropped, which lets the next request in")]
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// Why the answer about the file is missing or is not the requested one.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// There is no such file.
    Absent,
    /// The file exists, but the condition does not hold.
    Changed,
    /// The file ends before the bytes that were asked for; with its length if the server told it.
    Short(Option<u64>),
    /// The server denies access: that of the place, or the one at this URL to which it sent.
    Denied(Option<String>),
    /// The server is asked too often (429, 503); with how long it wants to be left alone, if it said so.
    Busy(Error, Option<Duration>),
    /// The name leads to an address to which no connection may be made.
    Forbidden(String),
    /// The answer is a redirect, to this URL.
    Elsewhere(String),
    /// The server does not support the request, for any file; the text says why.
    Unable(String),
    /// This build or this reader cannot ask; the error says why.
    Unasked(Error),
    /// No answer, or an incomplete one. Asking again may help.
    Lost(Error),
}

impl Unanswered {
    /// The answer of a server that is asked too often.
    fn busy(status: u16, again: Option<Duration>) -> Self {
        let wait = again.map_or_else(String::new, |again| format!(" and asks to be left alone for {again:?}"));
        Self::Busy(Error::unavailable(format!("the server answers {status}{wait}")), again)
    }
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self::Lost(error)
    }
}
