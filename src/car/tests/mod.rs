//! Files that no export writes, and limits that no caller sets.

mod limits;
mod origin;

use std::sync::Arc;

use crate::carfile::{CarBlock, CarReader, CarWriter, Sections};
use crate::handle::{CreateOptions, OpenOptions, Repository};
use crate::id::SnapshotId;
use crate::storage::Memory;

async fn empty() -> Repository {
    let create = CreateOptions::from(OpenOptions::default().without_pauses());
    Repository::create_storage(Arc::new(Memory::new()), create).await.unwrap()
}

async fn blocks_of(file: &[u8]) -> Vec<CarBlock> {
    let mut reader = CarReader::open(file).await.unwrap();
    let mut blocks = Vec::new();
    while let Some(section) = reader.next_section().await.unwrap() {
        blocks.push(section.verify().unwrap());
    }
    blocks
}

/// A CAR file with this root and these blocks.
async fn joined(root: SnapshotId, blocks: &[CarBlock]) -> Vec<u8> {
    let mut sections = Sections::default();
    for block in blocks {
        sections.push(&block.cid, &block.data).unwrap();
    }
    let mut writer = CarWriter::start(Vec::new(), &[root.cid()]).await.unwrap();
    writer.write(&sections).await.unwrap();
    writer.finish().await.unwrap().0
}
