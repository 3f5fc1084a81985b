//! The list of changed keys beside a snapshot: what its writer says has changed in the manifest since the first parent.
//!
//! Beside the frame lie four digests: of the roots of the older and of the newer manifest, and of the older and of the newer files map. The
//! frame holds `[repinned, old, new]` in DAG-CBOR. The first is 1 if a file that both depend on is pinned in another state, else 0. The
//! others are byte strings, each the canonical form of a leaf of a manifest: the entries that were replaced or removed, and those that
//! replaced them or were added. A key that is in both has two different entries.
//!
//! The list is a help. No id depends on it, and it proves nothing: an entry in it is what the writer of the snapshot said.

use std::cmp::Ordering;

use super::envelope::{self, Kind};
use super::{Commit, Entry, Leaf, Node, limits};
use crate::dagcbor::{Reader, Writer};
use crate::error::{Error, Result};
use crate::id::{Digest, HashAlgorithm, NodeId};
use crate::key::MapKey;

/// A key whose entry differs; at least one side has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangedEntry {
    pub(crate) key: MapKey,
    /// Its entry in the older manifest.
    pub(crate) old: Option<Entry>,
    /// Its entry in the newer one.
    pub(crate) new: Option<Entry>,
}

/// What leads from one version to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangeList {
    /// The roots of the older and of the newer manifest.
    pub(crate) manifests: [NodeId; 2],
    /// The roots of the older and of the newer files map.
    pub(crate) files: [NodeId; 2],
    /// Whether a file that both versions depend on is pinned in another state.
    pub(crate) is_repinned: bool,
    /// The changed keys, in the order of the maps.
    pub(crate) changes: Vec<ChangedEntry>,
}

impl ChangeList {
    /// Whether it claims to lead from one version to the other.
    pub(crate) fn is_between(&self, older: &Commit, newer: &Commit) -> bool {
        (self.manifests, self.files) == ([older.manifest, newer.manifest], [older.files, newer.files])
    }

    /// The list as it is stored; `None` if it is empty, or longer than a list may be.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        if self.changes.is_empty() || self.changes.len() > limits::CHANGES_ROWS {
            return None;
        }
        let side = |of: fn(&ChangedEntry) -> Option<&Entry>| {
            let entries = self.changes.iter().filter_map(|change| Some((change.key.clone(), of(change)?.clone())));
            Node::Leaf(Leaf { entries: entries.collect() }).canonical()
        };
        let (old, new) = (side(|change| change.old.as_ref()), side(|change| change.new.as_ref()));
        if old.len() >= limits::NODE || new.len() >= limits::NODE {
            return None;
        }
        let mut frame = Writer::with_capacity(old.len() + new.len() + 16);
        frame.array(3);
        frame.uint(self.is_repinned.into());
        frame.bytes(&old);
        frame.bytes(&new);
        let ([m0, m1], [f0, f1]) = (self.manifests, self.files);
        let roots = [m0, m1, f0, f1].map(|root| *root.digest().as_bytes());
        let stored = envelope::seal(Kind::Changes, roots.as_flattened(), &frame.finish());
        (stored.len() <= limits::CHANGES).then_some(stored)
    }

    /// Reads a list. Bytes that are none, or one that no writer makes, are `Corrupt`; ids of another hash and later versions are
    /// `Unsupported`. Whether the list is right, only the two manifests tell.
    pub(crate) fn decode(bytes: &[u8], hash: HashAlgorithm) -> Result<Self> {
        if bytes.len() > limits::CHANGES {
            return Err(Error::corrupt(format!("it has {} bytes; at most {} are allowed", bytes.len(), limits::CHANGES)));
        }
        let opened = envelope::open(Kind::Changes, bytes)?;
        let &[m0, m1, f0, f1] = opened.digests()? else {
            return Err(Error::corrupt(format!("{} bytes lie beside its frame; four digests belong there", opened.beside.len())));
        };
        if m0 == m1 {
            return Err(Error::corrupt("it leads from a manifest to the same one"));
        }
        let mut frame = Reader::new(&opened.body);
        frame.tuple(3)?;
        let is_repinned = match frame.uint()? {
            0 => false,
            1 => true,
            other => return Err(Error::corrupt(format!("it says {other} about files that are pinned anew; 0 and 1 are known"))),
        };
        if is_repinned && f0 == f1 {
            return Err(Error::corrupt("it speaks of files that are pinned anew in a files map that has not changed"));
        }
        let old = read_side("old", frame.bytes(limits::NODE)?, hash)?;
        let new = read_side("new", frame.bytes(limits::NODE)?, hash)?;
        frame.end()?;
        let root = |digest| NodeId::from_digest(Digest::new(hash, digest));
        let (manifests, files) = ([m0, m1].map(root), [f0, f1].map(root));
        Ok(Self { manifests, files, is_repinned, changes: join(old, new)? })
    }
}

/// Reads the entries of one side.
fn read_side(side: &str, bytes: &[u8], hash: HashAlgorithm) -> Result<Vec<(MapKey, Entry)>> {
    let name = |e: Error| e.context(format_args!("its {side} entries"));
    match Node::<Entry>::decode_canonical(bytes, hash).map_err(name)? {
        Node::Leaf(leaf) if leaf.entries.len() <= limits::CHANGES_ROWS => Ok(leaf.entries),
        Node::Leaf(leaf) => Err(too_many(leaf.entries.len())),
        Node::Branch(_) => Err(name(Error::corrupt("they are a branch, not a leaf"))),
    }
}

fn too_many(count: usize) -> Error {
    Error::corrupt(format!("it has {count} keys or more; at most {} are allowed", limits::CHANGES_ROWS))
}

/// Puts the two sides together.
fn join(old: Vec<(MapKey, Entry)>, new: Vec<(MapKey, Entry)>) -> Result<Vec<ChangedEntry>> {
    let mut changes = Vec::with_capacity(old.len().max(new.len()));
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((before, _)), Some((after, _))) => before.cmp(after),
        };
        let before = if order == Ordering::Greater { None } else { old.next() };
        let after = if order == Ordering::Less { None } else { new.next() };
        let (before, after) = match (before, after) {
            (Some((key, before)), after) => ((key, Some(before)), after.map(|(_, after)| after)),
            (None, Some((key, after))) => ((key, None), Some(after)),
            (None, None) => break,
        };
        let (key, before) = before;
        if before == after {
            return Err(Error::corrupt(format!("it names {key:?}, which has not changed")));
        }
        changes.push(ChangedEntry { key, old: before, new: after });
    }
    match changes.len() {
        0 => Err(Error::corrupt("it names no key")),
        count if count > limits::CHANGES_ROWS => Err(too_many(count)),
        _ => Ok(changes),
    }
}
