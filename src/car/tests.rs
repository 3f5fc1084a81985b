//! What needs limits that nobody else may set.

use std::sync::Arc;

use super::ImportTarget;
use super::import::Limits;
use crate::carfile::{CarReader, CarWriter, Sections};
use crate::error::ErrorKind;
use crate::key::Key;
use crate::repository::{CreateOptions, OpenOptions, Repository};
use crate::session::Snapshot;
use crate::storage::Memory;

async fn empty() -> Repository {
    let create = CreateOptions::from(OpenOptions::default().without_pauses());
    Repository::create_storage(Arc::new(Memory::new()), create).await.unwrap()
}

async fn filled() -> Snapshot {
    let repository = empty().await;
    let mut session = repository.write("main").await.unwrap();
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
    let root = crate::carfile::section_len(&snapshot.id().cid(), snapshot.commit().canonical().len() as u64);
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
    let mut reader = CarReader::open(file.as_slice()).await.unwrap();
    let mut blocks = Vec::new();
    while let Some(section) = reader.next_section().await.unwrap() {
        blocks.push(section.verify().unwrap());
    }
    // A leaf that both large chunks have comes last, so that both begin before either ends.
    let late = blocks.iter().position(|block| block.data.len() == 1 << 20 && block.data[3] == 7).unwrap();
    let late = blocks.remove(late);
    let mut sections = Sections::default();
    for block in blocks.iter().chain([&late]) {
        sections.push(&block.cid, &block.data).unwrap();
    }
    let mut writer = CarWriter::start(Vec::new(), &[snapshot.id().cid()]).await.unwrap();
    writer.write(&sections).await.unwrap();
    let (turned, _) = writer.finish().await.unwrap();
    let limits = Limits::default();
    import(&turned, Limits { open: 2, ..limits }).await.unwrap();
    let error = import(&turned, Limits { open: 1, ..limits }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("more than 1 chunks"), "{error}");
}
