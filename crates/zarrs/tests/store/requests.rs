//! How many requests reads of arrays cost.

use std::sync::Arc;

use firnline::storage::{Memory, Observed, Storage};
use firnline::{CreateOptions, OpenOptions, Repository};
use zarrs::array::{Array, ArrayBuilder, ArraySubset, data_type};
use zarrs_firnline::AsyncFirnlineStore;
use zarrs_storage::AsyncReadableStorageTraits as _;
use zarrs_storage::byte_range::ByteRange;

use crate::support::{Done, key};

const MIB: u64 = 1 << 20;

/// A repository whose requests are counted, with an array of one shard of `mib` inner chunks of 1 MiB each.
async fn with_shard(mib: u64) -> Done<(Arc<Observed>, Repository)> {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let repository = Repository::create_storage(Arc::clone(&storage), CreateOptions::default()).await?;
    let store = Arc::new(AsyncFirnlineStore::new(repository.write("main").await?));
    let array = ArrayBuilder::new(vec![mib * MIB], vec![mib * MIB], data_type::uint8(), 0u8)
        .subchunk_shape(vec![MIB])
        .build(store.clone(), "/a")?;
    array.async_store_metadata().await?;
    let values: Vec<u8> = (0..mib * MIB).map(|n| u8::try_from(n / MIB + 1).unwrap()).collect();
    array.async_store_chunk(&[0], values).await?;
    drop(array);
    store.into_session()?.commit("a shard").await?;
    let observed = Arc::new(Observed::new(storage));
    let repository = Repository::open_storage(observed.clone(), OpenOptions::default()).await?;
    Ok((observed, repository))
}

/// The requests for objects since `before`.
fn gets(observed: &Observed, before: firnline::storage::Counts) -> u64 {
    let counts = observed.counts().since(&before);
    assert_eq!(counts.requests(), counts.gets, "reading only gets");
    counts.gets
}

#[tokio::test]
async fn a_part_of_a_shard_costs_the_index_and_the_inner_chunk() -> Done {
    let (observed, repository) = with_shard(4).await?;
    let array = Array::async_open(Arc::new(AsyncFirnlineStore::new(repository.read("main").await?)), "/a").await?;
    let before = observed.counts();
    let part = ArraySubset::new_with_start_shape(vec![MIB + 10], vec![100])?;
    assert_eq!(array.async_retrieve_array_subset::<Vec<u8>>(&part).await?, [2; 100]);
    // The index lies behind the last inner chunk, beside the interior nodes against which every part is checked.
    assert_eq!(gets(&observed, before), 2);
    assert!(observed.counts().since(&before).bytes_read < MIB + 10_000, "only one of four inner chunks is read");
    Ok(())
}

#[tokio::test]
async fn sizes_cost_nothing_and_ranges_are_joined() -> Done {
    let (observed, repository) = with_shard(4).await?;
    let store = AsyncFirnlineStore::new(repository.read("main").await?);
    store.size_key(&key("a/c/0")).await?;
    let before = observed.counts();
    assert!(store.size_key(&key("a/c/0")).await?.is_some_and(|size| size > 4 * MIB));
    assert_eq!(store.get_partial(&key("a/none"), ByteRange::Suffix(10)).await?, None);
    assert_eq!(gets(&observed, before), 0, "sizes come from the manifest, which is in memory");
    let ranges = [ByteRange::FromStart(0, Some(10)), ByteRange::FromStart(2000, Some(10)), ByteRange::FromStart(60_000, Some(1))];
    assert!(store.get_partial_many(&key("a/c/0"), Box::new(ranges.into_iter())).await?.is_some());
    assert_eq!(gets(&observed, before), 2, "neighbouring ranges are read together: one leaf, and the interior nodes");
    let before = observed.counts();
    assert!(store.get_partial_many(&key("a/c/0"), Box::new(ranges.into_iter())).await?.is_some());
    assert_eq!(gets(&observed, before), 1, "the interior nodes are known");
    Ok(())
}
