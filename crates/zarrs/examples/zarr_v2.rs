//! Zarr v2, without async: an array with the documents and chunk names of version 2 of the format.
//!
//! Run it with `cargo run -p zarrs_firnline --example zarr_v2`. Every claim that it prints has been checked; it stops at the first
//! that does not hold.

use std::error::Error;
use std::io::{Write as _, stdout};
use std::num::NonZeroU64;
use std::sync::Arc;

use firnline::{Repository, block_on};
use zarrs::array::Array;
use zarrs::metadata::v2::ArrayMetadataV2;
use zarrs::metadata::{ChunkKeySeparator, FillValueMetadata};
use zarrs_firnline::FirnlineStore;
use zarrs_storage::{ListableStorageTraits as _, StorePrefix};

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Done {
    // Threads of their own: the stores wait on this one.
    let runtime = tokio::runtime::Runtime::new()?;
    let place = tempfile::tempdir()?;
    let place = place.path().join("waves").to_str().ok_or("the place is not UTF-8")?.to_owned();
    let repository = block_on(runtime.handle(), Repository::create(&place))?;

    let session = block_on(runtime.handle(), repository.write("main"))?;
    let store = Arc::new(FirnlineStore::new(session, runtime.handle().clone()));
    let chunk = NonZeroU64::new(2).ok_or("a chunk is not empty")?;
    let metadata = ArrayMetadataV2::new(vec![4, 4], vec![chunk; 2], "<i2".into(), FillValueMetadata::from(-1), None, None);
    let metadata = metadata.with_dimension_separator(ChunkKeySeparator::Dot);
    let array = Array::new_with_metadata(store.clone(), "/height", metadata.into())?;
    array.store_metadata()?;
    array.store_chunk(&[0, 0], vec![1i16, 2, 3, 4])?;
    array.store_chunk(&[1, 1], vec![5i16, 6, 7, 8])?;
    drop(array);
    let snapshot = block_on(runtime.handle(), store.into_session()?.commit("two chunks of four"))?;
    say(format!("committed {}", snapshot.id()))?;

    let store = Arc::new(FirnlineStore::new(snapshot, runtime.handle().clone()));
    let keys: Vec<String> = store.list_prefix(&StorePrefix::new("height/")?)?.iter().map(ToString::to_string).collect();
    assert_eq!(keys, ["height/.zarray", "height/.zattrs", "height/0.0", "height/1.1"]);
    say(format!("it holds {}", keys.join(", ")))?;

    let array = Array::open(store, "/height")?;
    let values: Vec<i16> = array.retrieve_array_subset(&array.subset_all())?;
    assert_eq!(values, [1, 2, -1, -1, 3, 4, -1, -1, -1, -1, 5, 6, -1, -1, 7, 8]);
    say("the chunks that nobody wrote are filled")
}

fn say(line: impl std::fmt::Display) -> Done {
    writeln!(stdout(), "{line}")?;
    Ok(())
}
