//! Counts requests and bytes: for benches, and for tests that promise a number of requests.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};

use super::{
    Collecting, Expected, Extent, Object, ObjectMeta, ObjectName, ObjectSource, ObjectWriter, RegisterName, RemovalPermit, Replaced,
    Storage, Versioned, WholeObject,
};
use crate::error::Result;
use crate::time::Timestamp;

/// Counts requests and bytes on their way to another store, and changes nothing.
#[derive(Debug)]
pub struct Observed {
    inner: Arc<dyn Storage>,
    counters: Arc<Counters>,
}

/// What has gone through an [`Observed`] store up to some moment. Requests are counted when they are sent, also those that fail; bytes
/// and objects are counted when the store has answered with success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Objects asked for, whole or in part.
    pub gets: u64,
    /// Objects sent.
    pub puts: u64,
    /// Barriers asked for.
    pub barriers: u64,
    /// Listings begun.
    pub lists: u64,
    /// Registers read.
    pub loads: u64,
    /// Registers sent, whether the store took them or not.
    pub replaces: u64,
    /// Bytes of objects and registers that came back.
    pub bytes_read: u64,
    /// Bytes of objects and registers that were taken.
    pub bytes_written: u64,
    /// Objects that were written.
    pub objects_written: u64,
    /// Registers that were replaced.
    pub registers_replaced: u64,
    /// Names that listings gave.
    pub names_listed: u64,
    /// Removals asked for, one for each object, however many go in one request.
    pub deletes: u64,
    /// Removals that the store has answered with success.
    pub objects_deleted: u64,
}

impl Counts {
    /// Requests of all kinds; a listing counts once, however many pages it takes.
    pub const fn requests(&self) -> u64 {
        self.gets + self.puts + self.barriers + self.lists + self.loads + self.replaces + self.deletes
    }
}

/// Names every counter once: the atomics, their snapshot, and the difference of two snapshots.
macro_rules! counters {
    ($($field:ident),* $(,)?) => {
        #[derive(Debug, Default)]
        struct Counters { $($field: AtomicU64),* }

        impl Counters {
            fn snapshot(&self) -> Counts {
                Counts { $($field: self.$field.load(Ordering::Relaxed)),* }
            }
        }

        impl Counts {
            /// What was added since `earlier`, an older snapshot of the same store.
            #[must_use]
            pub const fn since(&self, earlier: &Self) -> Self {
                Self { $($field: self.$field.saturating_sub(earlier.$field)),* }
            }
        }
    };
}
counters!(
    gets,
    puts,
    barriers,
    lists,
    loads,
    replaces,
    bytes_read,
    bytes_written,
    objects_written,
    registers_replaced,
    names_listed,
    deletes,
    objects_deleted,
);

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

impl Counters {
    /// Notes an object of so many bytes that the store has taken.
    fn wrote(&self, length: usize) {
        add(&self.objects_written, 1);
        add(&self.bytes_written, length);
    }
}

/// Counts an object that is written piece by piece as one that is put: sent when it gets its name.
#[derive(Debug)]
struct CountingWriter {
    inner: Box<dyn ObjectWriter>,
    counters: Arc<Counters>,
    length: usize,
}

#[async_trait]
impl ObjectWriter for CountingWriter {
    async fn write(&mut self, piece: Bytes) -> Result<()> {
        self.length += piece.len();
        self.inner.write(piece).await
    }

    async fn read(&mut self, range: Range<u64>) -> Result<Bytes> {
        self.inner.read(range).await
    }

    async fn finish(self: Box<Self>, name: &ObjectName) -> Result<()> {
        add(&self.counters.puts, 1);
        self.inner.finish(name).await?;
        self.counters.wrote(self.length);
        Ok(())
    }
}

impl Observed {
    /// Counts what goes to `inner`, from zero.
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, counters: Arc::default() }
    }

    /// What has gone through until now. Requests under way may be counted in part.
    pub fn counts(&self) -> Counts {
        self.counters.snapshot()
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "counted({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Storage for Observed {
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>> {
        add(&self.counters.gets, 1);
        let got = self.inner.get(name, extent).await?;
        add(&self.counters.bytes_read, got.as_ref().map_or(0, Bytes::len));
        Ok(got)
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        add(&self.counters.puts, 1);
        self.inner.put(name, parts).await?;
        self.counters.wrote(parts.iter().map(Bytes::len).sum());
        Ok(())
    }

    async fn get_many(&self, wanted: &[WholeObject]) -> Vec<Result<Option<Bytes>>> {
        add(&self.counters.gets, wanted.len());
        let got = self.inner.get_many(wanted).await;
        let lengths = got.iter().map(|one| one.as_ref().map_or(0, |found| found.as_ref().map_or(0, Bytes::len)));
        add(&self.counters.bytes_read, lengths.sum());
        got
    }

    async fn put_many(&self, objects: &[Object]) -> Vec<Result<()>> {
        add(&self.counters.puts, objects.len());
        let put = self.inner.put_many(objects).await;
        for ((_, parts), _) in objects.iter().zip(&put).filter(|(_, answer)| answer.is_ok()) {
            self.counters.wrote(parts.iter().map(Bytes::len).sum());
        }
        put
    }

    async fn put_from(&self, name: &ObjectName, source: &dyn ObjectSource) -> Result<()> {
        add(&self.counters.puts, 1);
        self.inner.put_from(name, source).await?;
        self.counters.wrote(usize::try_from(source.size()).unwrap_or(usize::MAX));
        Ok(())
    }

    fn writer(&self) -> Option<Box<dyn ObjectWriter>> {
        let inner = self.inner.writer()?;
        Some(Box::new(CountingWriter { inner, counters: Arc::clone(&self.counters), length: 0 }))
    }

    async fn barrier(&self) -> Result<()> {
        add(&self.counters.barriers, 1);
        self.inner.barrier().await
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        add(&self.counters.lists, 1);
        self.inner.list(prefix).inspect_ok(|_| add(&self.counters.names_listed, 1)).boxed()
    }

    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>> {
        add(&self.counters.loads, 1);
        let loaded = self.inner.load(name).await?;
        add(&self.counters.bytes_read, loaded.as_ref().map_or(0, |found| found.value.len()));
        Ok(loaded)
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced {
        add(&self.counters.replaces, 1);
        let length = value.len();
        let answer = self.inner.replace(name, expected, value).await;
        if matches!(answer, Replaced::Done(_)) {
            add(&self.counters.registers_replaced, 1);
            add(&self.counters.bytes_written, length);
        }
        answer
    }

    async fn delete_many(&self, names: &[ObjectName], permit: &RemovalPermit) -> Vec<Result<()>> {
        add(&self.counters.deletes, names.len());
        let answers = self.inner.delete_many(names, permit).await;
        add(&self.counters.objects_deleted, answers.iter().filter(|answer| answer.is_ok()).count());
        answers
    }

    async fn collecting(&self) -> Result<Collecting> {
        self.inner.collecting().await
    }

    fn clock(&self) -> Option<Timestamp> {
        self.inner.clock()
    }
}
