//! The names of everything in a repository: the only file that spells them.
//!
//! ```text
//! repo.json                                                       written once
//! refs/branches/<name>.json  refs/tags/<name>.json  gc/state.json registers: the only objects ever replaced
//! snapshots/<xx>/<cid>  manifests/<xx>/<cid>  files/<xx>/<cid>  history/<xx>/<cid>  chunks/<xx>/<cid>
//! moves/<xx>/<cid>  shallow/<cid>  changes/<xx>/<cid>              immutable
//! retention/state.json                                            a register: which versions have expired
//! retention/<xx>/<cid>                                            immutable
//! gc/lists/<id>/index  gc/lists/<id>/<xx>                         immutable, and removed when nobody needs them any more
//! gc/scratch-<unique>.json                                        for a moment, where a store is tried out
//! ```
//!
//! `<xx>` are characters 9 and 10 of the CID's text: the first that depend on the digest alone.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::{ChunkForm, ChunkId, Cid, Digest, HashAlgorithm, MapKind, NodeId, SnapshotId};

/// The kinds of objects that refs lead to. Kind and digest together are the name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum ObjectKind {
    /// A snapshot.
    Snapshot,
    /// A node of a manifest.
    Manifest,
    /// A node of a files map.
    Files,
    /// A node of a history map.
    History,
    /// A chunk of one block.
    RawChunk,
    /// A chunk of several blocks.
    TreeChunk,
    /// A block of earlier moves of a ref.
    Moves,
    /// The mark of a version whose history is not here, under the digest of its snapshot.
    Shallow,
    /// The list of changed keys beside a snapshot, under its digest.
    Changes,
}

impl ObjectKind {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 9] = [
        Self::Snapshot,
        Self::Manifest,
        Self::Files,
        Self::History,
        Self::RawChunk,
        Self::TreeChunk,
        Self::Moves,
        Self::Shallow,
        Self::Changes,
    ];

    /// The kind of the nodes of a map.
    pub(crate) const fn of_nodes(map: MapKind) -> Self {
        match map {
            MapKind::Manifest => Self::Manifest,
            MapKind::Files => Self::Files,
            MapKind::History => Self::History,
        }
    }

    /// The kind of a chunk.
    pub(crate) const fn of_chunk(form: ChunkForm) -> Self {
        match form {
            ChunkForm::Raw => Self::RawChunk,
            ChunkForm::UnixFs => Self::TreeChunk,
        }
    }

    /// The word in which it is printed; both kinds of chunks are `chunks`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshots",
            Self::Manifest => "manifests",
            Self::Files => "files",
            Self::History => "history",
            Self::RawChunk | Self::TreeChunk => "chunks",
            Self::Moves => "moves",
            Self::Shallow => "shallow",
            Self::Changes => "changes",
        }
    }
}

/// How many values `<xx>` has.
pub(crate) const SHARDS: usize = 1 << 10;

/// The letters of the text of a CID, in their order.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Which `<xx>` a digest has, as a number: bits 3 to 12.
pub(crate) fn shard_of(digest: &[u8; 32]) -> usize {
    let [first, second, ..] = *digest;
    (usize::from(first & 0x1f) << 5) | usize::from(second >> 3)
}

/// The two characters of shard number `shard`.
fn shard_text(shard: usize) -> String {
    [shard >> 5, shard].iter().filter_map(|n| LETTERS.get(n % LETTERS.len())).copied().map(char::from).collect()
}

/// The name of an immutable object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(String);

/// The name of an object that is replaced by compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegisterName(String);

/// Where branches and tags lie.
pub(crate) const REFS: &str = "refs/";
/// Where branches lie.
pub(crate) const BRANCHES: &str = "refs/branches/";
/// Where lists of changed keys lie.
pub(crate) const CHANGES: &str = "changes/";
/// Where chunks lie.
pub(crate) const CHUNKS: &str = "chunks/";
/// Where the nodes of history maps lie.
pub(crate) const HISTORY: &str = "history/";
/// Where snapshots lie.
pub(crate) const SNAPSHOTS: &str = "snapshots/";
/// Where tags lie.
pub(crate) const TAGS: &str = "refs/tags/";
/// Where collections write what they condemn.
pub(crate) const LISTS: &str = "gc/lists/";
/// The file name ending of every ref.
pub(crate) const REF_SUFFIX: &str = ".json";

/// The folders in which everything but `repo.json` lies.
pub(crate) const FOLDERS: [&str; 11] =
    ["refs", "snapshots", "manifests", "files", "history", "chunks", "moves", "shallow", "changes", "retention", "gc"];

/// The folder of the markers of versions that were imported in part.
pub(crate) const SHALLOW: &str = "shallow/";
/// The folders of the objects that refs lead to.
pub(crate) const OBJECT_FOLDERS: [&str; 8] = [SNAPSHOTS, "manifests/", "files/", HISTORY, CHUNKS, "moves/", SHALLOW, CHANGES];

impl ObjectName {
    pub(crate) fn snapshot(id: &SnapshotId) -> Self {
        Self::sharded(SNAPSHOTS, &id.cid())
    }

    pub(crate) fn node(kind: MapKind, id: &NodeId) -> Self {
        let folder = match kind {
            MapKind::Manifest => "manifests/",
            MapKind::Files => "files/",
            MapKind::History => HISTORY,
        };
        Self::sharded(folder, &id.cid())
    }

    pub(crate) fn chunk(id: &ChunkId) -> Self {
        Self::sharded(CHUNKS, &id.cid())
    }

    /// A block of earlier moves of a ref.
    pub(crate) fn moves(cid: &Cid) -> Self {
        Self::sharded("moves/", cid)
    }

    /// A list of expired versions. No garbage collection removes one.
    pub(crate) fn retention(cid: &Cid) -> Self {
        Self::sharded("retention/", cid)
    }

    /// The list of the keys that the snapshot `id` changed. It may be absent.
    pub(crate) fn changes(id: &SnapshotId) -> Self {
        Self::sharded(CHANGES, &id.cid())
    }

    /// Says that the history before `id` is not in this repository.
    pub(crate) fn shallow(id: &SnapshotId) -> Self {
        Self(format!("{SHALLOW}{id}"))
    }

    fn sharded(folder: &str, cid: &Cid) -> Self {
        let text = cid.to_string();
        let shard = text.get(8..10).expect("a CID with a 256-bit digest has more than 50 characters");
        Self(format!("{folder}{shard}/{text}"))
    }

    /// The name of the object of this kind with this digest.
    pub(crate) fn of(kind: ObjectKind, digest: Digest) -> Self {
        match kind {
            ObjectKind::Snapshot => Self::snapshot(&SnapshotId::from_digest(digest)),
            ObjectKind::Manifest => Self::node(MapKind::Manifest, &NodeId::from_digest(digest)),
            ObjectKind::Files => Self::node(MapKind::Files, &NodeId::from_digest(digest)),
            ObjectKind::History => Self::node(MapKind::History, &NodeId::from_digest(digest)),
            ObjectKind::RawChunk => Self::chunk(&ChunkId::new(ChunkForm::Raw, digest)),
            ObjectKind::TreeChunk => Self::chunk(&ChunkId::new(ChunkForm::UnixFs, digest)),
            ObjectKind::Moves => Self::moves(&NodeId::from_digest(digest).cid()),
            ObjectKind::Shallow => Self::shallow(&SnapshotId::from_digest(digest)),
            ObjectKind::Changes => Self::changes(&SnapshotId::from_digest(digest)),
        }
    }

    /// What the object under a listed name is; `None` for a name that no object of a repository of this hash has.
    pub(crate) fn parse(name: &str, hash: HashAlgorithm) -> Option<(ObjectKind, Digest)> {
        let (folder, rest) = name.split_once('/')?;
        let text = rest.rsplit('/').next()?;
        let node = || text.parse::<NodeId>().ok().map(|id| *id.digest());
        let (kind, digest) = match folder {
            "snapshots" => (ObjectKind::Snapshot, node()?),
            "manifests" => (ObjectKind::Manifest, node()?),
            "files" => (ObjectKind::Files, node()?),
            "history" => (ObjectKind::History, node()?),
            "moves" => (ObjectKind::Moves, node()?),
            "shallow" => (ObjectKind::Shallow, node()?),
            "changes" => (ObjectKind::Changes, node()?),
            "chunks" => text.parse::<ChunkId>().ok().map(|id| (ObjectKind::of_chunk(id.form()), *id.digest()))?,
            _ => return None,
        };
        // A CID has many spellings, and an object one name.
        (digest.hash() == hash && Self::of(kind, digest).0 == name).then_some((kind, digest))
    }

    /// Says which shards the list `id` of a collection has.
    pub(crate) fn list_index(id: &str) -> Self {
        Self(format!("{LISTS}{id}/index"))
    }

    /// One shard of the list `id` of a collection.
    pub(crate) fn list_shard(id: &str, shard: usize) -> Self {
        Self(format!("{LISTS}{id}/{}", shard_text(shard)))
    }

    /// The list that a listed object belongs to, and its name; `None` for a name that no part of a list has.
    pub(crate) fn parse_list(name: &str) -> Option<(String, Self)> {
        let (id, part) = name.strip_prefix(LISTS)?.split_once('/')?;
        let is_part = part == "index" || part.len() == 2 && part.bytes().all(|letter| LETTERS.contains(&letter));
        is_part.then(|| (id.to_owned(), Self(name.to_owned())))
    }

    /// The name as the store spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RegisterName {
    /// `repo.json`: created once and never replaced.
    pub(crate) fn repo() -> Self {
        Self("repo.json".to_owned())
    }

    pub(crate) fn branch(name: &str) -> Self {
        Self(format!("{BRANCHES}{name}{REF_SUFFIX}"))
    }

    pub(crate) fn tag(name: &str) -> Self {
        Self(format!("{TAGS}{name}{REF_SUFFIX}"))
    }

    pub(crate) fn gc_state() -> Self {
        Self("gc/state.json".to_owned())
    }

    /// Says which versions have expired.
    pub(crate) fn retention() -> Self {
        Self("retention/state.json".to_owned())
    }

    /// A unique name, to try out what a store does; the caller removes it.
    #[cfg(feature = "remote")]
    pub(crate) fn scratch() -> Self {
        Self(format!("gc/scratch-{}.json", unique()))
    }

    /// The name as the store spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A part of a name that no other process and no other call uses.
pub(crate) fn unique() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    static PROCESS: OnceLock<u64> = OnceLock::new();
    // Tells apart processes of one number on several machines; without randomness an exclusive creation still does.
    let process = PROCESS.get_or_init(|| getrandom::u64().unwrap_or(0));
    format!("{}-{}-{process:016x}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed))
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RegisterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_their_parts_and_others_are_foreign() {
        for hash in [HashAlgorithm::Sha2_256, HashAlgorithm::Blake3] {
            for (n, kind) in ObjectKind::ALL.into_iter().cycle().take(200).enumerate() {
                let digest = hash.digest(&n.to_le_bytes());
                let name = ObjectName::of(kind, digest);
                assert_eq!(ObjectName::parse(name.as_str(), hash), Some((kind, digest)));
                let shard = name.as_str().split('/').nth(1).unwrap();
                if kind != ObjectKind::Shallow {
                    assert_eq!(shard, shard_text(shard_of(digest.as_bytes())), "{name}");
                }
                let other = [HashAlgorithm::Sha2_256, HashAlgorithm::Blake3].into_iter().find(|other| *other != hash).unwrap();
                assert_eq!(ObjectName::parse(name.as_str(), other), None, "another hash");
                let (folder, rest) = name.as_str().split_once('/').unwrap();
                let upper = rest.to_uppercase();
                for foreign in [
                    format!("{name}.tmp"),
                    format!("x{name}"),
                    format!("{folder}/{upper}"),
                    format!("{folder}//{rest}"),
                    format!("{folder}/a/{rest}"),
                ] {
                    assert_eq!(ObjectName::parse(&foreign, hash), None, "{foreign}");
                }
            }
        }
        for foreign in ["", "chunks", "chunks/", "chunks/aa/x", "repo.json", "refs/branches/main.json", "gc/state.json"] {
            assert_eq!(ObjectName::parse(foreign, HashAlgorithm::Sha2_256), None, "{foreign}");
        }
    }

    #[test]
    fn parts_of_lists_are_told_from_other_objects() {
        for name in [ObjectName::list_index("3-ab-pre"), ObjectName::list_shard("3-ab-pre", 0), ObjectName::list_shard("3-ab-pre", 1023)] {
            assert_eq!(ObjectName::parse_list(name.as_str()), Some(("3-ab-pre".to_owned(), name)));
        }
        for name in ["gc/state.json", "gc/lists/x", "gc/lists/x/y", "gc/lists/x/abc", "gc/lists/x/1a", "gc/scratch-1.json"] {
            assert_eq!(ObjectName::parse_list(name), None, "{name}");
        }
    }
}
