//! Many objects in one call, and objects that are written piece by piece.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt as _};

use super::{Extent, ObjectName, Storage};
use crate::error::Result;

/// How many requests for single objects are under way at once.
const AT_ONCE: usize = 16;
/// How much of a source is read at a time, in bytes.
const PIECE: usize = 8 << 20;

/// An object to be written: its name, and its content in parts.
pub type Object = (ObjectName, Vec<Bytes>);

/// An object to be read whole, and the most bytes that it may have.
pub type WholeObject = (ObjectName, u64);

/// An object that is being written piece by piece, in order. It has no name, and no reader sees it, before
/// [`finish`](Self::finish) succeeds. Dropping the writer before that removes what was written.
///
/// Every future may be dropped. After that the writer must not be used again, as after an error. If the future of
/// [`finish`](Self::finish) was dropped, the object may have been stored or not, or may be later.
#[async_trait]
pub trait ObjectWriter: fmt::Debug + Send + Sync {
    /// Appends a piece. An error may be about an earlier piece; after an error every later call fails.
    async fn write(&mut self, piece: Bytes) -> Result<()>;

    /// Reads back a part of what has been written; `Corrupt` when it does not lie wholly inside.
    async fn read(&mut self, range: Range<u64>) -> Result<Bytes>;

    /// Stores the object as `name`, as [`Storage::put`] does: durable only after [`Storage::barrier`].
    async fn finish(self: Box<Self>, name: &ObjectName) -> Result<()>;
}

/// The content of an object that need not be in memory: any part of it can be read, as often as wanted.
///
/// Every read of one range must give the same bytes, or fail. The future of a read may be dropped at any moment, and later reads must
/// not be affected by that.
#[async_trait]
pub trait ObjectSource: fmt::Debug + Send + Sync {
    /// Length of the object in bytes.
    fn size(&self) -> u64;

    /// Reads the bytes in `range`, which lies inside the object.
    async fn read(&self, range: Range<u64>) -> Result<Bytes>;
}

/// Writes an object piece by piece where the store can, and otherwise collects it in memory.
pub(super) async fn put_from<S: Storage + ?Sized>(store: &S, name: &ObjectName, source: &dyn ObjectSource) -> Result<()> {
    let size = source.size();
    let mut starts = (0..size).step_by(PIECE);
    let pieces = std::iter::from_fn(|| starts.next().map(|start| start..(start + PIECE as u64).min(size)));
    let Some(mut writer) = store.writer() else {
        let mut parts = Vec::new();
        for range in pieces {
            parts.push(source.read(range).await?);
        }
        return store.put(name, &parts).await;
    };
    for range in pieces {
        writer.write(source.read(range).await?).await?;
    }
    writer.finish(name).await
}

/// Reads each object by a request of its own.
pub(super) async fn get_each<S: Storage + ?Sized>(store: &S, wanted: &[WholeObject]) -> Vec<Result<Option<Bytes>>> {
    in_order(wanted.iter().map(|(name, at_most)| store.get(name, Extent::Whole { at_most: *at_most }))).await
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
