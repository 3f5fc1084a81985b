//! A sharded array: many small chunks in few values, of which only the needed parts are read.
//!
//! Run it with `cargo run -p zarrs_firnline --example sharded`. Every claim that it prints has been checked; it stops at the first
//! that does not hold.

use std::error::Error;
use std::io::{Write as _, stdout};
use std::sync::Arc;

use firnline::{Key, Repository};
use zarrs::array::{Array, ArrayBuilder, ArraySubset, codec, data_type};
use zarrs_firnline::AsyncFirnlineStore;
use zarrs_storage::storage_adapter::performance_metrics::PerformanceMetricsStorageAdapter;

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// The length of an array of one dimension, of its shards and of the chunks within them.
const LENGTH: u64 = 1 << 21;
const SHARD: u64 = 1 << 20;
const CHUNK: u64 = 1 << 14;

#[tokio::main]
async fn main() -> Done {
    let place = tempfile::tempdir()?;
    let repository = Repository::create(place.path().join("shards").to_str().ok_or("the place is not UTF-8")?).await?;

    let store = Arc::new(AsyncFirnlineStore::new(repository.write("main").await?));
    let array = ArrayBuilder::new(vec![LENGTH], vec![SHARD], data_type::uint32(), 0u32)
        .subchunk_shape(vec![CHUNK])
        .bytes_to_bytes_codecs(vec![Arc::new(codec::GzipCodec::new(1)?)])
        .build(store.clone(), "/depth")?;
    array.async_store_metadata().await?;
    for shard in 0..LENGTH / SHARD {
        array.async_store_chunk(&[shard], values(shard * SHARD, SHARD)?).await?;
    }
    drop(array);
    let snapshot = store.into_session()?.commit("two shards").await?;
    let stored = snapshot.entry(&Key::new("depth/c/1")?).await?.ok_or("the shard was stored")?.size();
    say(format!("a shard of {} chunks takes {stored} bytes", SHARD / CHUNK))?;

    // This adapter of zarrs counts the bytes that the array asks the store for.
    let counted = Arc::new(PerformanceMetricsStorageAdapter::new(Arc::new(AsyncFirnlineStore::new(snapshot))));
    let array = Array::async_open(counted.clone(), "/depth").await?;
    counted.reset();
    let start = SHARD + 5 * CHUNK + 7;
    let part: Vec<u32> = array.async_retrieve_array_subset(&ArraySubset::new_with_start_shape(vec![start], vec![100])?).await?;
    assert_eq!(part, values(start, 100)?);
    let read = u64::try_from(counted.bytes_read())?;
    assert!(read < stored / 20, "{read} bytes were read of {stored}");
    say(format!("100 values of it cost the index and one chunk: {read} bytes"))
}

/// Any numbers that depend on their place.
fn values(start: u64, length: u64) -> Done<Vec<u32>> {
    Ok((start..start + length).map(|n| u32::try_from(n * n % 1_000_003)).collect::<Result<_, _>>()?)
}

fn say(line: impl std::fmt::Display) -> Done {
    writeln!(stdout(), "{line}")?;
    Ok(())
}
