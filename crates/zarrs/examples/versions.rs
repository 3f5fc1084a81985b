//! Zarr v3, asynchronously: create an array, write it, commit, change it, and read it as it was.
//!
//! Run it with `cargo run -p zarrs_firnline --example versions`. Every claim that it prints has been checked; it stops at the first
//! that does not hold.

use std::error::Error;
use std::io::{Write as _, stdout};
use std::sync::Arc;

use firnline::{Repository, Snapshot, WriteSession};
use zarrs::array::{Array, ArrayBuilder, data_type};
use zarrs::group::GroupBuilder;
use zarrs_firnline::AsyncFirnlineStore;

type Done<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Done {
    let place = tempfile::tempdir()?;
    let repository = Repository::create(place.path().join("weather").to_str().ok_or("the place is not UTF-8")?).await?;

    let january = create(repository.write("main").await?).await?;
    let february = correct(repository.write("main").await?).await?;
    say(format!("main is now {}", february.id()))?;

    assert_eq!(temperatures(repository.read("main").await?).await?, [1.0, 2.0, 30.0, f32::NAN].map(f32::to_bits));
    say("main holds the correction")?;

    let as_it_was = [1.0, 2.0, 3.0, f32::NAN].map(f32::to_bits);
    let time = january.record().time;
    for revision in ["main~1".to_owned(), format!("main@{time}"), january.id().to_string()] {
        assert_eq!(temperatures(repository.read(&revision).await?).await?, as_it_was);
        say(format!("{revision} holds what was read then"))?;
    }
    Ok(())
}

/// The first version: a group, an array of four days in chunks of two, and three values. The fourth is not known yet.
async fn create(session: WriteSession) -> Done<Snapshot> {
    let store = Arc::new(AsyncFirnlineStore::new(session));
    GroupBuilder::new().build(store.clone(), "/")?.async_store_metadata().await?;
    let array = ArrayBuilder::new(vec![4], vec![2], data_type::float32(), f32::NAN)
        .dimension_names(["day"].into())
        .build(store.clone(), "/temperature")?;
    array.async_store_metadata().await?;
    array.async_store_chunk(&[0], vec![1.0f32, 2.0]).await?;
    array.async_store_chunk(&[1], vec![3.0f32, f32::NAN]).await?;
    // The array holds the store, and the store the session. A commit needs the session alone.
    drop(array);
    Ok(store.into_session()?.commit("January").await?)
}

/// The second version: one value was wrong. Only its chunk is written.
async fn correct(session: WriteSession) -> Done<Snapshot> {
    let store = Arc::new(AsyncFirnlineStore::new(session));
    let array = Array::async_open(store.clone(), "/temperature").await?;
    array.async_store_chunk(&[1], vec![30.0f32, f32::NAN]).await?;
    drop(array);
    Ok(store.into_session()?.commit("a correction").await?)
}

/// All values of a version, as bits, in which an absent value is equal to itself.
async fn temperatures(snapshot: Snapshot) -> Done<Vec<u32>> {
    let array = Array::async_open(Arc::new(AsyncFirnlineStore::new(snapshot)), "/temperature").await?;
    let values: Vec<f32> = array.async_retrieve_array_subset(&array.subset_all()).await?;
    Ok(values.into_iter().map(f32::to_bits).collect())
}

fn say(line: impl std::fmt::Display) -> Done {
    writeln!(stdout(), "{line}")?;
    Ok(())
}
