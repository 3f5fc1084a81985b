//! Looks at everything that happens, at the moment at which it happens, and knows what must be true then.
//!
//! Nothing here uses the collector's or the writers' code, except to decode what is stored. What refs lead to only grows, because refs keep
//! both ends of all their moves and everything before those. So each object is looked at once, when a ref first leads to it; from then on
//! its removal is a loss.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::operations::{Operated, Staged};
use super::store::Objects;
use crate::dagcbor;
use crate::format::{Commit, Entry, HistoryEntry, Node, SnapshotObject, Value, VirtualFile};
use crate::id::{ChunkForm, ChunkId, Cid, HashAlgorithm, MapKind, NodeId, SnapshotId};
use crate::refs::{Move, RefRecord};
use crate::storage::ObjectName;

const HASH: HashAlgorithm = HashAlgorithm::Sha2_256;

/// The values under the keys of a version.
pub(super) type Content = BTreeMap<String, Entry>;

/// A change of a ref that readers can see.
#[derive(Debug, Clone)]
pub(super) struct Landed {
    /// The operation that sent it; `None` while the world was made.
    pub(super) operation: Option<usize>,
    pub(super) register: String,
    pub(super) to: Option<SnapshotId>,
    /// The move that it records; `None` for a commit.
    pub(super) moved: Option<Move>,
}

/// What was true and what must be.
#[derive(Debug, Clone, Default)]
pub(super) struct Oracle {
    refs: BTreeMap<String, RefRecord>,
    /// What each ref showed, and since when.
    shown: BTreeMap<String, Vec<(u64, Option<SnapshotId>)>>,
    /// The names of everything that refs lead to.
    protected: HashSet<String>,
    contents: HashMap<SnapshotId, Arc<Content>>,
    pub(super) landed: Vec<Landed>,
    pub(super) operations: Vec<Operated>,
    /// The first thing that was wrong.
    pub(super) violation: Option<String>,
}

/// A block of earlier moves, as `docs/format.md` describes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EarlierMoves {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    older: Option<Cid>,
    moves: Vec<Move>,
}

type Checked<T = ()> = Result<T, String>;

impl Oracle {
    pub(super) fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// An object is about to be written.
    pub(super) fn put(&mut self, store: &Objects, name: &str, bytes: &Bytes) {
        if self.protected.contains(name) && store.get(name).is_some_and(|there| there != bytes) {
            self.violated(format!("{name} was replaced by other bytes"));
        }
    }

    /// An object was removed.
    pub(super) fn removed(&mut self, name: &str) {
        if self.protected.contains(name) {
            let by = self.refs.iter().map(|(name, record)| format!("{name}: {:?}", record.tip)).collect::<Vec<_>>();
            self.violated(format!("{name} was removed while refs lead to it: {by:?}"));
        }
    }

    /// A ref was replaced.
    pub(super) fn replaced(&mut self, store: &Objects, register: &str, value: &Bytes, operation: Option<usize>, now: u64) {
        if let Err(why) = self.check_replaced(store, register, value, operation, now) {
            self.violated(format!("{register}, by operation {operation:?}: {why}"));
        }
    }

    fn check_replaced(&mut self, store: &Objects, register: &str, value: &Bytes, operation: Option<usize>, now: u64) -> Checked {
        let new = RefRecord::decode(value, register).map_err(|e| e.to_string())?;
        let old = self.refs.insert(register.to_owned(), new.clone());
        let (old_tip, old_moves) = old.as_ref().map_or((None, &[][..]), |old| (old.tip, &old.moves[..]));
        if let Some(old) = &old {
            require(new.seq > old.seq, || format!("its number was {} and is {}", old.seq, new.seq))?;
            require(new.epoch >= old.epoch, || format!("its epoch was {} and is {}", old.epoch, new.epoch))?;
        }
        let moved = new.moves.last().filter(|last| old_moves.last() != Some(last)).cloned();
        for id in new.moves.iter().flat_map(|one| [one.from, one.to]).chain([new.tip]).flatten() {
            self.protect(store, id)?;
        }
        self.check_moves(store, old.as_ref(), &new, moved.as_ref())?;
        if moved.is_none() && new.tip == old_tip {
            // Nobody can see it: it was raised, or its number was burnt, or its creation has only begun.
            return Ok(());
        }
        match (&moved, new.tip) {
            (Some(moved), tip) => require(moved.from == old_tip && moved.to == tip && moved.seq == new.seq, || {
                format!("it showed {old_tip:?} and shows {tip:?} after {moved:?}")
            })?,
            (None, Some(tip)) => self.check_commit(store, old_tip, tip, operation)?,
            (None, None) => return Err("its tip has gone without a move".to_owned()),
        }
        self.shown.entry(register.to_owned()).or_default().push((now, new.tip));
        let landed = Landed { operation, register: register.to_owned(), to: new.tip, moved };
        self.check_landing(&landed)?;
        self.landed.push(landed);
        Ok(())
    }

    /// No recorded move is ever lost or changed.
    fn check_moves(&mut self, store: &Objects, old: Option<&RefRecord>, new: &RefRecord, moved: Option<&Move>) -> Checked {
        if old.is_some_and(|old| old.moves == new.moves && old.older == new.older) {
            return Ok(());
        }
        let all = |oracle: &mut Self, record: &RefRecord| -> Checked<Vec<Move>> {
            let (mut found, mut older) = (record.moves.clone(), record.older);
            while let Some(cid) = older {
                let name = ObjectName::moves(&cid);
                let bytes = store.get(name.as_str()).ok_or_else(|| format!("{name}, a block of its moves, is not there"))?;
                require(NodeId::of(HASH, bytes).cid() == cid, || format!("{name} has other bytes"))?;
                oracle.protected.insert(name.as_str().to_owned());
                let block: EarlierMoves = dagcbor::decode(bytes, name.as_str()).map_err(|e| e.to_string())?;
                found.splice(..0, block.moves);
                older = block.older;
            }
            Ok(found)
        };
        let mut before = old.map_or(Ok(Vec::new()), |old| all(self, old))?;
        before.extend(moved.cloned());
        let after = all(self, new)?;
        require(before == after, || format!("its moves were {before:?} and are {after:?}"))
    }

    /// What is published is the tip, and what its operation staged, and nothing else.
    fn check_commit(&mut self, store: &Objects, old_tip: Option<SnapshotId>, tip: SnapshotId, operation: Option<usize>) -> Checked {
        let commit = commit_of(store, tip)?;
        require(commit.parents.first() == old_tip.as_ref(), || format!("{tip} is not a child of {old_tip:?}"))?;
        let before = old_tip.map_or(Ok(Arc::default()), |tip| self.content(store, tip))?;
        let after = self.content(store, tip)?;
        let Some(operation) = operation.and_then(|at| self.operations.get(at)) else { return Ok(()) };
        match &operation.staged {
            Staged::Nothing => Err(format!("{} publishes nothing", operation.word())),
            Staged::Values(staged) => {
                let mut expected = Content::clone(&before);
                expected.extend(staged.clone());
                require(expected == *after, || format!("{tip} holds {after:?} instead of {expected:?}"))
            }
            Staged::Version(theirs) => {
                require(commit.parents.get(1).is_none_or(|parent| parent == theirs), || format!("{tip} does not name {theirs}"))?;
                let theirs = self.content(store, *theirs)?;
                let is_right = |key: &String| [before.get(key), theirs.get(key)].contains(&after.get(key));
                require(before.keys().chain(theirs.keys()).chain(after.keys()).all(is_right), || {
                    format!("{tip} merges {before:?} and {theirs:?} to {after:?}")
                })
            }
        }
    }

    /// What a version holds.
    pub(super) fn content(&mut self, store: &Objects, id: SnapshotId) -> Checked<Arc<Content>> {
        if let Some(known) = self.contents.get(&id) {
            return Ok(Arc::clone(known));
        }
        let mut content = Content::new();
        let mut todo = vec![commit_of(store, id)?.manifest];
        while let Some(node) = todo.pop() {
            match node_of::<Entry>(store, MapKind::Manifest, node)? {
                Node::Leaf(leaf) => content.extend(leaf.entries.into_iter().map(|(key, entry)| (key.as_str().to_owned(), entry))),
                Node::Branch(branch) => todo.extend(branch.children.iter().map(|child| child.id)),
            }
        }
        let content = Arc::new(content);
        self.contents.insert(id, Arc::clone(&content));
        Ok(content)
    }

    /// Notes that refs lead to a version, and looks at everything that nothing led to before.
    fn protect(&mut self, store: &Objects, id: SnapshotId) -> Checked {
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            if !self.protected.insert(ObjectName::snapshot(&id).as_str().to_owned()) {
                continue;
            }
            let commit = commit_of(store, id)?;
            todo.extend(&commit.parents);
            self.protect_nodes::<Entry>(store, commit.manifest, &mut |oracle, entry| {
                let Entry::Chunk { id, .. } = entry else { return Ok(()) };
                let name = ObjectName::chunk(id);
                if !oracle.protected.insert(name.as_str().to_owned()) {
                    return Ok(());
                }
                let bytes = store.get(name.as_str()).ok_or_else(|| format!("{name}, which it leads to, is not there"))?;
                require(ChunkId::new(ChunkForm::Raw, HASH.digest(bytes)) == *id, || format!("{name} has other bytes"))
            })?;
            self.protect_nodes::<VirtualFile>(store, commit.files, &mut |_, _| Ok(()))?;
            self.protect_nodes::<HistoryEntry>(store, commit.history, &mut |_, entry| {
                todo.push(entry.id);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn protect_nodes<V: Value>(&mut self, store: &Objects, root: NodeId, see: &mut dyn FnMut(&mut Self, &V) -> Checked) -> Checked {
        let mut todo = vec![root];
        while let Some(id) = todo.pop() {
            if !self.protected.insert(ObjectName::node(V::KIND, &id).as_str().to_owned()) {
                continue;
            }
            match node_of::<V>(store, V::KIND, id)? {
                Node::Leaf(leaf) => leaf.entries.iter().try_for_each(|(_, entry)| see(self, entry))?,
                Node::Branch(branch) => todo.extend(branch.children.iter().map(|child| child.id)),
            }
        }
        Ok(())
    }

    /// Whether a ref showed `tip` at some moment between `from` and now.
    pub(super) fn has_shown(&self, register: &str, tip: Option<SnapshotId>, from: u64) -> bool {
        let shown = self.shown.get(register).map_or(&[][..], Vec::as_slice);
        // What it showed at `from`, and everything since.
        let first = shown.iter().rposition(|(at, _)| *at < from);
        let before = first.and_then(|at| shown[at].1);
        before == tip && first.is_some() || first.is_none() && tip.is_none() || shown.iter().any(|(at, shown)| *at >= from && *shown == tip)
    }
}

pub(super) fn require(holds: bool, why: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(why()) }
}

fn commit_of(store: &Objects, id: SnapshotId) -> Checked<Commit> {
    let name = ObjectName::snapshot(&id);
    let bytes = store.get(name.as_str()).ok_or_else(|| format!("{name}, which it leads to, is not there"))?;
    Ok(SnapshotObject::decode_verified(bytes, id).map_err(|e| e.to_string())?.commit)
}

fn node_of<V: Value>(store: &Objects, kind: MapKind, id: NodeId) -> Checked<Node<V>> {
    let name = ObjectName::node(kind, &id);
    let bytes = store.get(name.as_str()).ok_or_else(|| format!("{name}, which it leads to, is not there"))?;
    Node::decode_verified(bytes, id).map_err(|e| e.to_string())
}
