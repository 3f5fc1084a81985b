//! Conflicts by the Zarr rule. If one side changes how an array's chunks are read, every change of its chunks by the other side is a
//! conflict. If one side deletes a node, everything that the other side sets below it is a conflict.
//!
//! A document is read only if one side changed it and the other side changed something below its directory. Changes of both sides come
//! in the order of the maps, in which everything below a directory is contiguous, so only the directories above the current key are
//! kept in memory.

use super::detect::differs;
use super::{Conflict, ConflictKind};
use crate::error::Result;
use crate::format::Entry;
use crate::key::{MapKey, Prefix};
use crate::map::{MapChange, Span};
use crate::session::{Lookup, Staged};
use crate::snapshot::Snapshot;
use crate::zarr::{self, Restructured, ZarrNode};

/// The longest document that is read, in bytes. A longer one counts as one that does not parse.
const MAX_DOCUMENT: u64 = 64 << 20;

/// What this session staged, on what, and where the branch is now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides<'s> {
    pub(super) staged: &'s Staged,
    pub(super) base: &'s Snapshot,
    pub(super) tip: &'s Snapshot,
    pub(super) words: SideWords,
}

/// How messages say which side did something.
#[derive(Debug, Clone, Copy)]
pub(super) struct SideWords {
    /// What is staged.
    pub(super) here: &'static str,
    /// What is committed on the branch.
    pub(super) there: &'static str,
}

impl SideWords {
    /// The words for a session: its own changes are `here`, unless it applies those of other versions.
    pub(super) const fn of(applies: bool) -> Self {
        if applies {
            Self { here: "by what is applied", there: "on the branch" }
        } else {
            Self { here: "here", there: "by the other side" }
        }
    }
}

/// The directory of the last query, and whether the node in question is the nearest one above it.
type Nearest = Option<(String, bool)>;

/// A node in conflict: the two sides changed it, or keys below it, in incompatible ways.
#[derive(Debug)]
pub(super) struct NodeConflict {
    /// The prefix of everything that belongs to the node.
    pub(super) prefix: Prefix,
    pub(super) conflict: Conflict,
}

impl NodeConflict {
    fn new(directory: &str, found: &Restructured, why: String) -> Result<Self> {
        let kind = if found.is_group { ConflictKind::Group } else { ConflictKind::Array };
        let name = node_name(directory);
        Ok(Self { prefix: Prefix::new(directory)?, conflict: Conflict { kind, name: name.to_owned(), why: Some(why) } })
    }
}

/// How a conflict names the node of a directory: its path, `/` being the root.
pub(super) fn node_name(directory: &str) -> &str {
    if directory.is_empty() { "/" } else { directory.trim_end_matches('/') }
}

fn done(entry: Option<&Entry>) -> &'static str {
    if entry.is_some() { "set" } else { "deleted" }
}

impl Sides<'_> {
    /// Reads the document that is stored as `entry` under `key`. A document in an external file is not read, because a commit does not
    /// wait for external sources.
    pub(super) async fn document(&self, key: &MapKey, entry: Option<&Entry>) -> Result<Option<ZarrNode>> {
        let Some(entry) = entry else { return Ok(None) };
        if entry.file().is_some() || entry.size() > MAX_DOCUMENT {
            return Ok(Some(ZarrNode::Unreadable));
        }
        let key = crate::key::Key::new(key.as_str())?;
        let bytes = self.base.value_of(&key, entry, None).await?;
        Ok(Some(ZarrNode::parse(key.as_str(), &bytes)))
    }

    /// The conflict between the other side's change of a document and the changes staged below its directory, if there is one.
    pub(super) async fn under_their_document(&self, ours: &Lookup, change: &MapChange<Entry>) -> Result<Option<NodeConflict>> {
        let (directory, _) = zarr::split(change.key.as_str());
        let prefix = Prefix::new(directory)?;
        // The document is staged here as well. If the two differ, its own key is the conflict.
        if *ours != Lookup::Untouched {
            return Ok(None);
        }
        let ranges = self.staged.layers().deleted_below(&prefix);
        if ranges.is_empty() && self.staged.layers().edits(Some(&prefix))?.next()?.is_none() {
            return Ok(None);
        }
        let old = self.document(&change.key, change.old.as_ref()).await?;
        let new = self.document(&change.key, change.new.as_ref()).await?;
        let Some(found) = Restructured::of(old.as_ref(), new.as_ref()) else { return Ok(None) };
        let mut nearest = None;
        let mut edits = self.staged.layers().edits(Some(&prefix))?;
        while let Some((key, entry)) = edits.next()? {
            let counts = (found.below && entry.is_some()) || (found.chunks && self.is_chunk_of(directory, &key, &mut nearest).await?);
            if counts && self.tip.manifest().find(key.as_str()).await? != entry {
                let SideWords { here, there } = self.words;
                let why = format!("{} {there}, while {key} was {} {here}", found.what, done(entry.as_ref()));
                return NodeConflict::new(directory, &found, why).map(Some);
            }
        }
        for range in ranges.into_iter().filter(|_| found.chunks) {
            let mut doomed = self.tip.manifest().scan(Span::prefix(range));
            while let Some((key, _)) = doomed.next().await? {
                if self.staged.layers().edit(&key)? == Lookup::Untouched && self.is_chunk_of(directory, &key, &mut nearest).await? {
                    let SideWords { here, there } = self.words;
                    let why = format!("{} {there}, while {} was deleted {here}", found.what, range.as_str());
                    return NodeConflict::new(directory, &found, why).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Whether `key` is a chunk of the node at `directory`, one above it: no document, and no nearer node between them.
    async fn is_chunk_of(&self, directory: &str, key: &MapKey, nearest: &mut Nearest) -> Result<bool> {
        if zarr::is_document(key.as_str()) {
            return Ok(false);
        }
        let (parent, _) = zarr::split(key.as_str());
        if let Some((_, answer)) = nearest.as_ref().filter(|(last, _)| last == parent) {
            return Ok(*answer);
        }
        let mut answer = true;
        for between in zarr::directories(key.as_str()).filter(|between| between.len() > directory.len()) {
            if self.is_node(between).await? {
                answer = false;
                break;
            }
        }
        *nearest = Some((parent.to_owned(), answer));
        Ok(answer)
    }

    /// Whether a directory is a node on any side.
    async fn is_node(&self, directory: &str) -> Result<bool> {
        let documents = zarr::NODE_DOCUMENTS.map(|name| MapKey::new(format!("{directory}{name}")));
        for key in &documents {
            if matches!(self.staged.layers().lookup(key)?, Lookup::Set(_)) {
                return Ok(true);
            }
        }
        for side in [self.base, self.tip] {
            if side.manifest().find_many(&documents).await?.iter().any(Option::is_some) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Describes the shard grid of the array that `key` belongs to; `None` if the array has no shards.
    pub(super) async fn shard_of(&self, key: &str) -> Result<Option<String>> {
        for directory in zarr::directories(key).rev().filter(|_| !zarr::is_document(key)) {
            let document = MapKey::new(format!("{directory}zarr.json"));
            let entry = self.tip.manifest().find(document.as_str()).await?;
            if let Some(node) = self.document(&document, entry.as_ref()).await? {
                let ZarrNode::Array(structure) = node else { return Ok(None) };
                let name = directory.trim_end_matches('/');
                return Ok(structure
                    .shard()
                    .map(|grid| format!("a shard of array {name}, whose writers meet unless they keep to its shard grid {grid:?}")));
            }
        }
        Ok(None)
    }
}

/// The documents staged here in the directories above the other side's changes, which come in order.
#[derive(Debug, Default)]
pub(super) struct OurDocuments {
    above: Vec<Directory>,
}

#[derive(Debug)]
struct Directory {
    path: String,
    /// The documents in it that are staged.
    documents: Vec<MapKey>,
    /// Their structural changes, computed when they are first needed. Those found to be in conflict are removed, because one reason is
    /// enough.
    judged: Option<Vec<Restructured>>,
    nearest: Nearest,
}

impl OurDocuments {
    /// The nodes whose staged documents conflict with a change of the other side.
    pub(super) async fn above(&mut self, sides: Sides<'_>, ours: &Lookup, change: &MapChange<Entry>) -> Result<Vec<NodeConflict>> {
        let key = change.key.as_str();
        self.above.retain(|directory| key.starts_with(&directory.path));
        for path in zarr::directories(key).skip(self.above.len()) {
            let documents = zarr::NODE_DOCUMENTS.map(|name| MapKey::new(format!("{path}{name}")));
            let mut staged = Vec::new();
            for document in documents {
                if sides.staged.layers().edit(&document)? != Lookup::Untouched {
                    staged.push(document);
                }
            }
            self.above.push(Directory { path: path.to_owned(), documents: staged, judged: None, nearest: None });
        }
        let mut found = Vec::new();
        for directory in self.above.iter_mut().filter(|directory| !directory.documents.is_empty()) {
            found.extend(directory.against(sides, ours, change).await?);
        }
        Ok(found)
    }
}

impl Directory {
    async fn against(&mut self, sides: Sides<'_>, ours: &Lookup, change: &MapChange<Entry>) -> Result<Vec<NodeConflict>> {
        // Both sides set the key to the same value, or both deleted it: no conflict.
        let is_settled = *ours != Lookup::Untouched && !differs(ours, change.new.as_ref());
        if is_settled || self.documents.contains(&change.key) {
            return Ok(Vec::new());
        }
        let judged = match self.judged.take() {
            Some(judged) => judged,
            None => judge(&self.documents, sides).await?,
        };
        let (mut conflicts, mut left) = (Vec::new(), Vec::new());
        for found in judged {
            let counts = (found.below && change.new.is_some())
                || (found.chunks && sides.is_chunk_of(&self.path, &change.key, &mut self.nearest).await?);
            if counts {
                let SideWords { here, there } = sides.words;
                let why = format!("{} {here}, while {} was {} {there}", found.what, change.key, done(change.new.as_ref()));
                conflicts.push(NodeConflict::new(&self.path, &found, why)?);
            } else {
                left.push(found);
            }
        }
        self.judged = Some(left);
        Ok(conflicts)
    }
}

/// The structural changes by the staged documents of a node, without the documents that the other side changed too.
async fn judge(documents: &[MapKey], sides: Sides<'_>) -> Result<Vec<Restructured>> {
    let before = sides.base.manifest().find_many(documents).await?;
    let now = sides.tip.manifest().find_many(documents).await?;
    let mut found = Vec::new();
    for ((key, before), now) in documents.iter().zip(before).zip(now) {
        let ours = match sides.staged.layers().edit(key)? {
            Lookup::Set(entry) => Some(entry),
            Lookup::Deleted | Lookup::Untouched => None,
        };
        if before == now && before != ours {
            let (old, new) = (sides.document(key, before.as_ref()).await?, sides.document(key, ours.as_ref()).await?);
            found.extend(Restructured::of(old.as_ref(), new.as_ref()));
        }
    }
    Ok(found)
}
