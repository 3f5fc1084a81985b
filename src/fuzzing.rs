//! Every decoder of bytes that may come from anybody, for fuzzing (`tests/fuzz`). For tests; no promise of stability.
//!
//! Beyond "no panic" each holds what its format promises: what it takes is canonical, or comes back from its own bytes.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use bytes::Bytes;
use futures::executor::block_on;

use crate::carfile::{CarBlock, CarReader, CarWriter, Sections};
use crate::error::{Error, Result};
use crate::format::fuzzed;
use crate::format::{
    ChangeList, Commit, Container, Entry, FileKey, ForkBlock, ForkDocument, ForkKind, HistoryEntry, Node, RepoConfig, Roots,
    SnapshotObject, Value, VirtualFile,
};
use crate::history::Revision;
use crate::id::{ChunkForm, ChunkId, Cid, HashAlgorithm, NodeId, SnapshotId, parse_cid};
use crate::key::{Key, MapKey, Prefix};
use crate::refs::{RefName, fuzzed as fuzzed_refs};
use crate::time::{Timestamp, parse_time};
use crate::unixfs::{Layout, Tree, children};
use crate::virtuals::{Allow, Locator};

const HASH: HashAlgorithm = HashAlgorithm::Sha2_256;

/// A decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, missing_docs, reason = "for tests, which go through all of them; the names say it")]
pub enum FuzzedDecoder {
    Snapshot,
    Commit,
    Manifest,
    Files,
    History,
    CanonicalManifest,
    CanonicalFiles,
    CanonicalHistory,
    RefRecord,
    MovesBlock,
    CollectionState,
    ListIndex,
    ListShard,
    ChangedKeys,
    RetentionState,
    RetentionList,
    Description,
    Fork,
    Changes,
    ForkRows,
    Car,
    UnixFs,
    Texts,
}

impl FuzzedDecoder {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Snapshot,
        Self::Commit,
        Self::Manifest,
        Self::Files,
        Self::History,
        Self::CanonicalManifest,
        Self::CanonicalFiles,
        Self::CanonicalHistory,
        Self::RefRecord,
        Self::MovesBlock,
        Self::CollectionState,
        Self::ListIndex,
        Self::ListShard,
        Self::ChangedKeys,
        Self::RetentionState,
        Self::RetentionList,
        Self::Description,
        Self::Fork,
        Self::Changes,
        Self::ForkRows,
        Self::Car,
        Self::UnixFs,
        Self::Texts,
    ];

    /// The name of its target in `tests/fuzz`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Commit => "commit",
            Self::Manifest => "manifest",
            Self::Files => "files",
            Self::History => "history",
            Self::CanonicalManifest => "canonical_manifest",
            Self::CanonicalFiles => "canonical_files",
            Self::CanonicalHistory => "canonical_history",
            Self::RefRecord => "ref_record",
            Self::MovesBlock => "moves_block",
            Self::CollectionState => "collection_state",
            Self::ListIndex => "list_index",
            Self::ListShard => "list_shard",
            Self::ChangedKeys => "changed_keys",
            Self::RetentionState => "retention_state",
            Self::RetentionList => "retention_list",
            Self::Description => "description",
            Self::Fork => "fork",
            Self::Changes => "changes",
            Self::ForkRows => "fork_rows",
            Self::Car => "car",
            Self::UnixFs => "unixfs",
            Self::Texts => "texts",
        }
    }

    /// Decodes `bytes`, and says whether they were taken.
    ///
    /// # Panics
    ///
    /// If a promise of the format does not hold: that is what fuzzing looks for.
    pub fn run(self, bytes: &[u8]) -> bool {
        match self {
            Self::Snapshot => at_rest(bytes, snapshot),
            Self::Commit => commit(bytes),
            Self::Manifest => at_rest(bytes, stored_node::<Entry>),
            Self::Files => at_rest(bytes, stored_node::<VirtualFile>),
            Self::History => at_rest(bytes, stored_node::<HistoryEntry>),
            Self::CanonicalManifest => canonical_node::<Entry>(bytes),
            Self::CanonicalFiles => canonical_node::<VirtualFile>(bytes),
            Self::CanonicalHistory => canonical_node::<HistoryEntry>(bytes),
            Self::RefRecord => fuzzed_refs::record(bytes),
            Self::MovesBlock => fuzzed_refs::moves_block(bytes),
            Self::CollectionState => fuzzed_refs::collection_state(bytes),
            Self::ListIndex => fuzzed_refs::list_index(bytes),
            Self::ListShard => fuzzed_refs::list_shard(bytes),
            Self::ChangedKeys => at_rest(bytes, changed_keys),
            Self::RetentionState => fuzzed_refs::retention_state(bytes),
            Self::RetentionList => fuzzed_refs::retention_list(bytes),
            Self::Description => description(bytes),
            Self::Fork => fork(ForkKind::Fork, bytes),
            Self::Changes => fork(ForkKind::Changes, bytes),
            Self::ForkRows => fork_rows(bytes),
            Self::Car => car(bytes),
            Self::UnixFs => unixfs(bytes),
            Self::Texts => std::str::from_utf8(bytes).is_ok_and(texts),
        }
    }

    /// Seeds made of one real object: as it is, and without what hides its fields (compression, a wrapped body). Those of rows are made of
    /// the documents that hold them.
    pub fn seeds(self, object: &[u8]) -> Vec<Vec<u8>> {
        let inside = match self {
            Self::Snapshot | Self::Manifest | Self::Files | Self::History | Self::ChangedKeys => fuzzed::plain(object),
            Self::Fork | Self::Changes => fuzzed::fork_body(object),
            Self::ForkRows => return fuzzed::fork_rows(object),
            _ => None,
        };
        [Some(object.to_vec()), inside].into_iter().flatten().collect()
    }
}

/// Decodes an object as it is, and with lengths and a checksum that fit: behind them the fields are reached.
fn at_rest(bytes: &[u8], take: impl Fn(&[u8]) -> bool) -> bool {
    let is_taken = take(bytes);
    fuzzed::mended(bytes).is_some_and(|bytes| take(&bytes)) || is_taken
}

/// The id that an error says the content has: what a hostile writer would have named the object.
fn content_id(error: &Error) -> Option<Cid> {
    let text = error.to_string();
    parse_cid(text.split_once("its content has the id ")?.1).ok()
}

fn stored_node<V: Value>(bytes: &[u8]) -> bool {
    let Err(error) = Node::<V>::decode_verified(bytes, NodeId::of(HASH, b"some other node")) else { return false };
    let Some(id) = content_id(&error).and_then(|id| NodeId::from_cid(&id).ok()) else { return false };
    Node::<V>::decode_verified(bytes, id).is_ok_and(|node| {
        assert_eq!(Node::decode_canonical(&node.canonical(), HASH).ok(), Some(node), "both forms admit the same nodes");
        true
    })
}

fn canonical_node<V: Value>(bytes: &[u8]) -> bool {
    Node::<V>::decode_canonical(bytes, HASH).is_ok_and(|node| {
        assert_eq!(node.canonical(), bytes, "a node has one canonical form");
        assert_eq!(Node::decode_verified(&node.encode_at_rest(), node.id(HASH)).ok(), Some(node), "both forms admit the same nodes");
        true
    })
}

fn snapshot(bytes: &[u8]) -> bool {
    let Err(error) = SnapshotObject::decode_verified(bytes, SnapshotId::of(HASH, b"some other snapshot")) else { return false };
    let Some(id) = content_id(&error).and_then(|id| SnapshotId::from_cid(&id).ok()) else { return false };
    SnapshotObject::decode_verified(bytes, id).is_ok_and(|object| {
        assert_eq!(
            Commit::decode_canonical(&object.commit.canonical(), HASH).ok(),
            Some(object.commit),
            "both forms admit the same commits"
        );
        true
    })
}

fn commit(bytes: &[u8]) -> bool {
    Commit::decode_canonical(bytes, HASH).is_ok_and(|commit| {
        assert_eq!(commit.canonical(), bytes, "a commit has one canonical form");
        let stored = SnapshotObject { commit: commit.clone(), roots: Roots::default() }.encode();
        let again = SnapshotObject::decode_verified(&stored, commit.id(HASH)).map(|object| object.commit);
        assert_eq!(again.ok(), Some(commit), "both forms admit the same commits");
        true
    })
}

fn changed_keys(bytes: &[u8]) -> bool {
    ChangeList::decode(bytes, HASH).is_ok_and(|list| {
        // One that was stored without compression may be too long with another.
        if let Some(again) = list.encode() {
            assert_eq!(ChangeList::decode(&again, HASH).ok(), Some(list), "a list comes back from its own bytes");
        }
        true
    })
}

fn description(bytes: &[u8]) -> bool {
    RepoConfig::decode(bytes).is_ok_and(|config| {
        if let Ok(again) = RepoConfig::decode(&config.encode()) {
            assert_eq!(again, config);
        }
        true
    })
}

/// Decodes a document, or a body for which the rest is made.
fn fork(kind: ForkKind, bytes: &[u8]) -> bool {
    let take = |bytes: &[u8]| {
        ForkDocument::decode(bytes, kind).is_ok_and(|document| {
            assert_eq!(document.encode(), bytes, "a document has one form");
            true
        })
    };
    take(bytes) || take(&fuzzed::fork_document(kind, bytes))
}

fn fork_rows(bytes: &[u8]) -> bool {
    ForkBlock::decode(bytes, HASH).is_ok_and(|block| {
        assert_eq!(block.encode(), bytes, "a block has one form");
        true
    })
}

fn car(bytes: &[u8]) -> bool {
    let Ok((roots, blocks)) = block_on(read_car(bytes)) else { return false };
    let written = block_on(write_car(&roots, &blocks)).expect("what was read can be written");
    let (same, again) = block_on(read_car(&written)).expect("what was written can be read");
    assert_eq!(same, roots);
    assert!(again.iter().map(|block| (block.cid, &block.data)).eq(blocks.iter().map(|block| (block.cid, &block.data))));
    true
}

async fn read_car(bytes: &[u8]) -> Result<(Vec<Cid>, Vec<CarBlock>)> {
    let mut reader = CarReader::open(bytes).await?;
    let mut blocks = Vec::new();
    while let Some(section) = reader.next_section().await? {
        blocks.push(section.verify()?);
    }
    Ok((reader.roots().to_vec(), blocks))
}

async fn write_car(roots: &[Cid], blocks: &[CarBlock]) -> Result<Vec<u8>> {
    let mut writer = CarWriter::start(Vec::new(), roots).await?;
    let mut sections = Sections::default();
    for block in blocks {
        sections.push(&block.cid, &block.data)?;
    }
    writer.write(&sections).await?;
    Ok(writer.finish().await?.0)
}

/// Eight bytes that say how long a file is, and its interior nodes, the root last.
fn unixfs(bytes: &[u8]) -> bool {
    let Some((size, interior)) = bytes.split_first_chunk::<8>() else { return false };
    let size = u64::from_le_bytes(*size);
    let Ok(layout) = Layout::of(size) else { return false };
    let begin = usize::try_from(layout.root().encoded_len()).ok().and_then(|len| interior.len().checked_sub(len));
    let Some(root) = begin.and_then(|begin| interior.get(begin..)) else { return false };
    let is_node = children(layout.root(), HASH, root).is_ok();
    let id = ChunkId::new(ChunkForm::UnixFs, HASH.digest(root));
    let Ok(tree) = Tree::read(&id, size, &Bytes::copy_from_slice(interior)) else { return is_node };
    assert_eq!(Tree::of(HASH, size, tree.leaves().to_vec()).ok(), Some(tree), "a tree is the one over its leaves");
    true
}

/// Text as people write it: times, revisions, ids, names, keys, places, URLs, templates.
fn texts(text: &str) -> bool {
    let kinds = [
        comes_back::<Timestamp>(text),
        comes_back::<Revision>(text),
        comes_back::<SnapshotId>(text),
        comes_back::<NodeId>(text),
        comes_back::<ChunkId>(text),
        comes_back::<RefName>(text),
        comes_back::<HashAlgorithm>(text),
        text.parse::<Allow>().is_ok(),
        parse_time(text, Timestamp::from_micros(1_740_830_400_000_000)).is_ok(),
        Key::new(text).is_ok_and(|key| {
            assert_eq!(key.as_str(), text);
            true
        }),
        Prefix::new(text).is_ok_and(|prefix| {
            assert_eq!(Prefix::new(prefix.as_str()).ok(), Some(prefix));
            true
        }),
        FileKey::from_map_key(&MapKey::new(text)).is_ok_and(|file| {
            assert_eq!(file.as_map_key().as_str(), text);
            true
        }),
        Locator::default().locate(text).is_ok(),
        is_template(text),
    ];
    kinds.contains(&true)
}

fn comes_back<T: FromStr + Display + Debug + PartialEq>(text: &str) -> bool {
    text.parse::<T>().is_ok_and(|value| {
        assert_eq!(value.to_string().parse::<T>().ok(), Some(value));
        true
    })
}

fn is_template(text: &str) -> bool {
    let container = Container { name: "c".to_owned(), template: text.to_owned(), defaults: [].into(), options: [].into() };
    Locator::new([&container]).is_ok_and(|locator| locator.locate("https://h/a/b.nc").is_ok() || locator.locate(text).is_ok())
}
