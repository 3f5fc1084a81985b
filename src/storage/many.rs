//! Many objects in one call, and objects that are written piece by piece.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt as _};

use super::{ObjectName, Storage};
use crate::error::Result;

/// How many requests for single objects are under way at once.
const AT_ONCE: usize = 16;

/// An object to be written: its name, and its content in parts.
pub type Object = (ObjectName, Vec<Bytes>);

/// An object that is being written piece by piece, in order. Nobody sees it before [`finish`](Self::finish) succeeds, and
/// dropped before that it leaves nothing.
#[async_trait]
pub trait ObjectWriter: fmt::Debug + Send + Sync {
    /// Appends a piece. An error may be about an earlier piece, and after it the writer is of no more use.
    async fn write(&mut self, piece: Bytes) -> Result<()>;

    /// Reads back a part of what has been written; `Corrupt` when it does not lie wholly inside.
    async fn read(&mut self, range: Range<u64>) -> Result<Bytes>;

    /// Gives the object its name, as [`Storage::put`] does: durable only after [`Storage::barrier`].
    async fn finish(self: Box<Self>) -> Result<()>;
}

/// Reads each object by a request of its own.
pub(super) async fn get_each<S: Storage + ?Sized>(store: &S, names: &[ObjectName]) -> Vec<Result<Option<Bytes>>> {
    in_order(names.iter().map(|name| store.get(name, None))).await
}

/// Writes each object by a request of its own.
pub(super) async fn put_each<S: Storage + ?Sized>(store: &S, objects: &[Object]) -> Vec<Result<()>> {
    in_order(objects.iter().map(|(name, parts)| store.put(name, parts))).await
}

/// The answers to all requests in their order, of which some are under way at once.
async fn in_order<'a, T: Send>(requests: impl Iterator<Item = BoxFuture<'a, T>> + Send) -> Vec<T> {
    let (mut under_way, mut answers) = (FuturesOrdered::new(), Vec::new());
    for request in requests {
        if under_way.len() >= AT_ONCE {
            answers.extend(under_way.next().await);
        }
        under_way.push_back(request);
    }
    while let Some(answer) = under_way.next().await {
        answers.push(answer);
    }
    answers
}
