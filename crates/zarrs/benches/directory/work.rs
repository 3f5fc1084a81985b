//! Reading and writing one array through zarrs.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firnline::block_on;
use zarrs::array::{Array, ArrayBuilder, data_type};
use zarrs_firnline::{AsyncFirnlineStore, FirnlineStore};
use zarrs_storage::{AsyncReadableStorageTraits, AsyncWritableStorageTraits, ReadableStorageTraits, WritableStorageTraits};

use super::stores::{Kind, Place, on_threads};

/// The chunks of an array of one dimension.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunks {
    /// Bytes of each.
    pub(crate) length: u64,
    pub(crate) count: u64,
}

impl fmt::Display for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} KiB", self.count, self.length >> 10)
    }
}

impl Chunks {
    fn builder(self) -> ArrayBuilder {
        let each = self.length / 4;
        ArrayBuilder::new(vec![each * self.count], vec![each], data_type::uint32(), 0u32)
    }

    /// Values of which no two chunks are equal.
    fn values(self) -> Vec<u32> {
        (0..self.length / 4 * self.count).map(|n| u32::try_from(n * 2_654_435_761 % (1 << 32)).unwrap()).collect()
    }
}

/// How the array is read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// At once, by as many threads as zarrs takes.
    Sync,
    /// Chunk by chunk, on one thread.
    OneByOne,
    /// At once, by the asynchronous methods. The directory is read and written on threads that may block.
    Async,
}

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::OneByOne => "sync, one by one",
            Self::Async => "async",
        })
    }
}

/// Opens and reads the array, and returns how long that took.
pub(crate) fn read(place: &Place, chunks: &Chunks, face: Face) -> Duration {
    let start = Instant::now();
    let values = match (place.kind, face) {
        (Kind::Firnline(_), Face::Async) => place.runtime.block_on(async {
            let snapshot = place.repository().await.read("main").await.unwrap();
            read_async(Arc::new(AsyncFirnlineStore::new(snapshot))).await
        }),
        (Kind::Firnline(_), _) => {
            let snapshot = block_on(&place.runtime, async { place.repository().await.read("main").await.unwrap() });
            read_sync(Arc::new(FirnlineStore::new(snapshot, place.runtime.clone())), chunks, face)
        }
        (_, Face::Async) => place.runtime.block_on(read_async(on_threads(place.directory()))),
        (_, _) => read_sync(place.directory(), chunks, face),
    };
    let time = start.elapsed();
    assert!(values == chunks.values(), "{:?} gave other values", place.kind);
    time
}

fn read_sync<S: ReadableStorageTraits + 'static>(store: Arc<S>, chunks: &Chunks, face: Face) -> Vec<u32> {
    let array = Array::open(store, "/a").unwrap();
    if face == Face::Sync {
        return array.retrieve_array_subset(&array.subset_all()).unwrap();
    }
    let mut values = Vec::with_capacity(usize::try_from(chunks.length / 4 * chunks.count).unwrap());
    for chunk in 0..chunks.count {
        values.extend(array.retrieve_chunk::<Vec<u32>>(&[chunk]).unwrap());
    }
    values
}

async fn read_async<S: AsyncReadableStorageTraits + 'static>(store: Arc<S>) -> Vec<u32> {
    let array = Array::async_open(store, "/a").await.unwrap();
    array.async_retrieve_array_subset(&array.subset_all()).await.unwrap()
}

/// Writes the array until it is durable, and returns how long that took.
pub(crate) fn write(place: &Place, chunks: &Chunks, face: Face) -> Duration {
    let values = chunks.values();
    let start = Instant::now();
    match (place.kind, face) {
        (Kind::Firnline(_), Face::Async) => place.runtime.block_on(async {
            let store = Arc::new(AsyncFirnlineStore::new(place.repository().await.write("main").await.unwrap()));
            write_async(store.clone(), chunks, values).await;
            store.into_session().unwrap().commit("an array").await.unwrap();
        }),
        (Kind::Firnline(_), _) => {
            let session = block_on(&place.runtime, async { place.repository().await.write("main").await.unwrap() });
            let store = Arc::new(FirnlineStore::new(session, place.runtime.clone()));
            write_sync(store.clone(), chunks, values);
            block_on(&place.runtime, store.into_session().unwrap().commit("an array")).unwrap();
        }
        (Kind::Directory, Face::Async) => place.runtime.block_on(write_async(on_threads(place.directory()), chunks, values)),
        (Kind::Directory, _) => write_sync(place.directory(), chunks, values),
        (Kind::OneSync, Face::Async) => {
            place.runtime.block_on(write_async(on_threads(place.unsynced()), chunks, values));
            place.sync();
        }
        (Kind::OneSync, _) => {
            write_sync(place.unsynced(), chunks, values);
            place.sync();
        }
    }
    start.elapsed()
}

fn write_sync<S: WritableStorageTraits + 'static>(store: Arc<S>, chunks: &Chunks, values: Vec<u32>) {
    let array = chunks.builder().build(store, "/a").unwrap();
    array.store_metadata().unwrap();
    let all = zarrs::array::ArraySubset::new_with_start_shape(vec![0], vec![chunks.count]).unwrap();
    array.store_chunks(&all, values).unwrap();
}

async fn write_async<S: AsyncWritableStorageTraits + 'static>(store: Arc<S>, chunks: &Chunks, values: Vec<u32>) {
    let array = chunks.builder().build(store, "/a").unwrap();
    array.async_store_metadata().await.unwrap();
    let all = zarrs::array::ArraySubset::new_with_start_shape(vec![0], vec![chunks.count]).unwrap();
    array.async_store_chunks(&all, values).await.unwrap();
}
