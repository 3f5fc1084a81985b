//! The limits of an import and of a plan, with other values than callers can set.

use std::sync::Arc;

use super::{blocks_of, empty, joined};
use crate::car::import::Limits;
use crate::car::{ImportOptions, ImportTarget};
use crate::error::ErrorKind;
use crate::handle::{CreateOptions, OpenOptions, Repository};
use crate::key::Key;
use crate::snapshot::Snapshot;

async fn filled() -> Snapshot {
    let repository = empty().await;
    let session = repository.write("main").await.unwrap();
    for i in 0..300_u32 {
        let value = (i % 40).to_le_bytes().repeat(500);
        session.set(&Key::new(format!("a/{i}")).unwrap(), value).await.unwrap();
    }
    let mut large = vec![0; 5 << 20];
    large[(1 << 20) + 3] = 7;
    session.set(&Key::new("large").unwrap(), large.clone()).await.unwrap();
    large.truncate((2 << 20) + 1);
    session.set(&Key::new("larger").unwrap(), large).await.unwrap();
    session.commit("data").await.unwrap()
}

#[tokio::test]
async fn runs_on_disk_give_the_same_file() {
    let snapshot = filled().await;
    let mut whole = Vec::new();
    let summary = snapshot.export_car(&mut whole).await.unwrap();
    for limit in [3, 10, 64, 1000] {
        let plan = snapshot.plan_car_within(limit).await.unwrap();
        assert_eq!(plan.summary(), summary);
        let mut file = Vec::new();
        assert_eq!(plan.write(&mut file).await.unwrap(), summary);
        assert!(file == whole, "limit {limit}");
    }
}

/// The option was ignored: names of blocks were spilled to `TMPDIR` whatever it said.
#[tokio::test]
async fn names_of_blocks_are_spilled_where_the_options_say() {
    let place = tempfile::tempdir().unwrap();
    let absent = place.path().join("absent");
    let mut open = OpenOptions::default().without_pauses();
    open.scratch = Some(absent.clone());
    let storage = Arc::new(crate::storage::Memory::new());
    let repository = Repository::create_storage(storage, CreateOptions::from(open)).await.unwrap();
    let snapshot = repository.read("main").await.unwrap();
    snapshot.plan_car_within(1000).await.unwrap();
    let error = snapshot.plan_car_within(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(absent.to_str().unwrap()), "{error}");
    std::fs::create_dir(&absent).unwrap();
    snapshot.plan_car_within(1).await.unwrap();
}

async fn import(file: &[u8], limits: Limits) -> crate::Result<()> {
    let target = empty().await;
    let done = target.import_car_within(file, ImportTarget::Branch("x".parse().unwrap()), limits).await.map(|_| ());
    assert_eq!(target.branches().await.unwrap().len(), 1 + usize::from(done.is_ok()));
    done
}

#[tokio::test]
async fn limits_are_kept() {
    let snapshot = filled().await;
    let mut file = Vec::new();
    let summary = snapshot.export_car(&mut file).await.unwrap();
    let limits = Limits::default();
    // Depth first needs to hold nothing.
    import(&file, Limits { held: 0, ..limits }).await.unwrap();
    let refused = [Limits { chunk: 5 << 20, ..limits }, Limits { blocks: usize::try_from(summary.blocks).unwrap() - 1, ..limits }];
    import(&file, refused[0]).await.unwrap();
    for limits in [Limits { chunk: (5 << 20) - 1, ..limits }, refused[1]] {
        assert_eq!(import(&file, limits).await.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    // The root last: everything has to be held until then.
    let root = crate::carfile::section_len(&snapshot.id().cid(), snapshot.record().canonical().len() as u64);
    let head = crate::carfile::header_len(&[snapshot.id().cid()]).unwrap();
    let (head, root) = (usize::try_from(head).unwrap(), usize::try_from(root).unwrap());
    let turned = [&file[..head], &file[head + root..], &file[head..head + root]].concat();
    import(&turned, limits).await.unwrap();
    let error = import(&turned, Limits { held: 1 << 20, ..limits }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("up to byte"), "{error}");
}

#[tokio::test]
async fn chunks_that_begin_and_do_not_end_are_counted() {
    let snapshot = filled().await;
    let mut file = Vec::new();
    snapshot.export_car(&mut file).await.unwrap();
    let mut blocks = blocks_of(&file).await;
    // A leaf that both large chunks have comes last, so that both begin before either ends.
    let late = blocks.iter().position(|block| block.data.len() == 1 << 20 && block.data[3] == 7).unwrap();
    let late = blocks.remove(late);
    blocks.push(late);
    let turned = joined(snapshot.id(), &blocks).await;
    let limits = Limits::default();
    import(&turned, Limits { open: 2, ..limits }).await.unwrap();
    let error = import(&turned, Limits { open: 1, ..limits }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("more than 1 chunks"), "{error}");
}

/// Chunks of these lengths, all zeros but for a number at the end.
async fn zeros(lengths: impl Iterator<Item = usize>) -> (Snapshot, Vec<u8>) {
    let repository = empty().await;
    let session = repository.write("main").await.unwrap();
    for (i, length) in lengths.enumerate() {
        let mut value = vec![0; length];
        value.extend_from_slice(&u32::try_from(i).unwrap().to_le_bytes());
        session.set(&Key::new(format!("{i}")).unwrap(), value).await.unwrap();
    }
    let snapshot = session.commit("zeros").await.unwrap();
    let mut file = Vec::new();
    snapshot.export_car(&mut file).await.unwrap();
    (snapshot, file)
}

/// One node of a manifest links thousands of chunks. When their roots and a leaf that they share had come before it, all of
/// them were begun, with a file each, before anybody looked how many there were.
#[tokio::test]
async fn no_block_begins_more_chunks_than_may_be_open() {
    let (snapshot, file) = zeros(std::iter::repeat_n(1 << 20, 10)).await;
    let mut blocks = blocks_of(&file).await;
    blocks.sort_by_key(|block| match (block.cid.codec(), block.data.len()) {
        (0x70, _) => 0,
        (0x55, 4) => 3,
        (0x55, _) => 1,
        _ => 2,
    });
    let turned = joined(snapshot.id(), &blocks).await;
    import(&turned, Limits::default()).await.unwrap();
    // Every chunk that is begun takes a leaf; there is room for three of them.
    let limits = Limits { open: 2, least: 3 << 20, multiple: 0, ..Limits::default() };
    let error = import(&turned, limits).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("more than 2 chunks"), "{error}");
}

/// A leaf is in a file once, and a chunk may link it as often as it likes: a file of 1.3 MB wrote 4 GB, and could write 64 GiB.
#[tokio::test]
async fn the_bytes_of_all_chunks_are_bounded() {
    let (_snapshot, file) = zeros((0..8).map(|i| (4 << 20) + i)).await;
    let total: u64 = (0..8).map(|i| (4 << 20) + i + 4).sum();
    let limits = Limits { multiple: 0, least: 0, ..Limits::default() };
    // Known before anything is written: the limit of the caller, and that of the file's length.
    let len = file.len() as u64;
    let known = Limits { multiple: 1 << 20, file_len: Some(len), ..limits };
    import(&file, Limits { total: Some(total), ..limits }).await.unwrap();
    import(&file, known).await.unwrap();
    import(&file, Limits { least: total, ..Limits { multiple: 1, ..known } }).await.unwrap();
    for limits in [Limits { total: Some(total - 1), ..limits }, Limits { total: Some(total - 1), ..known }, Limits { multiple: 1, ..known }]
    {
        let error = import(&file, limits).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let most = limits.total.unwrap_or(len);
        for part in [format!("describes chunks of {total} bytes"), format!("at most {most} are allowed"), "max_bytes".to_owned()] {
            assert!(error.to_string().contains(&part), "{error}");
        }
    }
    // Not known: what has been read counts.
    import(&file, Limits { multiple: 34, ..limits }).await.unwrap();
    import(&file, Limits { least: total, ..limits }).await.unwrap();
    let error = import(&file, Limits { multiple: 2, least: 16 << 20, ..limits }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(&format!("describes chunks of {total} bytes")), "{error}");

    // Chunks that repeat nothing need no room beyond the file's length, wherever in the file the limit is looked at.
    let repository = empty().await;
    let session = repository.write("main").await.unwrap();
    for i in 0..3_u8 {
        let value = (0..5 << 18).flat_map(|at: u32| (at | u32::from(i) << 24).to_le_bytes());
        session.set(&Key::new(format!("{i}")).unwrap(), value.collect::<Vec<u8>>()).await.unwrap();
    }
    let mut file = Vec::new();
    session.commit("data").await.unwrap().export_car(&mut file).await.unwrap();
    import(&file, Limits { multiple: 1, ..limits }).await.unwrap();
    import(&file, Limits { multiple: 1, file_len: Some(file.len() as u64), ..limits }).await.unwrap();
}

/// Nothing of a chunk is written when the node that links it says that it is too large.
#[tokio::test]
async fn chunks_that_are_too_large_are_not_begun() {
    let (_snapshot, file) = zeros(std::iter::once(300 << 20)).await;
    let storage = Arc::new(crate::storage::Observed::new(Arc::new(crate::storage::Memory::new())));
    let create = CreateOptions::from(OpenOptions::default().without_pauses());
    let target = Repository::create_storage(storage.clone(), create).await.unwrap();
    let before = storage.counts().bytes_written;
    let name = || ImportTarget::Branch("x".parse().unwrap());
    let options = ImportOptions::default().file_len(file.len() as u64);
    let error = target.import_car_with(file.as_slice(), name(), options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains(&format!("at most {} are allowed", 256 << 20)), "{error}");
    assert!(storage.counts().bytes_written - before < 4096);
    // A stream has no known length, and is refused when it has made as much of what came.
    assert_eq!(target.import_car(file.as_slice(), name()).await.unwrap_err().kind(), ErrorKind::Invalid);
    let options = options.max_bytes(301 << 20);
    target.import_car_with(file.as_slice(), name(), options).await.unwrap();
}
