//! Nodes of at-rest version 1, which are read for ever and no longer written: the columns in a `FlatBuffer`.

mod column;
mod files;

pub(super) use files::files;

use super::at_rest::{Digests, HistoryColumns, ManifestColumns, VIRTUAL, children, push_file};
use super::{Branch, Node, Value};
use crate::error::{Error, Result};
use crate::format::column::{Misfit, misfit};
use crate::format::envelope::Opened;
use crate::format::generated::node as fb;
use crate::id::HashAlgorithm;
use crate::key::MapKey;

/// Reads an object without looking at its id.
pub(super) fn decode<V: Value>(opened: &Opened<'_>, hash: HashAlgorithm) -> Result<Node<V>> {
    let node = fb::root_as_node(&opened.body).map_err(|e| Error::corrupt("its FlatBuffer is malformed").caused_by(e))?;
    super::check::rows::<V>(node.count() as usize, node.branch().is_none())?;
    let mut digests = Digests::new(opened.digests()?, hash);
    let read = read(&node, &mut digests).and_then(|node| digests.end().map(|()| node));
    read.map_err(|e| Error::corrupt(e.0))
}

fn read<V: Value>(node: &fb::Node<'_>, digests: &mut Digests<'_>) -> Result<Node<V>, Misfit> {
    let count = node.count() as usize;
    let mut keys = Vec::with_capacity(count);
    column::read_strings(node.keys(), count, "keys", |key| {
        keys.push(MapKey::new(key));
        Ok(())
    })?;
    let Some(branch) = node.branch() else {
        return V::rows(V::read_version1(node, count)?, keys, digests).map(Node::Leaf);
    };
    let entries = column::read(branch.entries(), count, "entries")?;
    let sizes = column::read(branch.bytes(), count, "bytes")?;
    Ok(Node::Branch(Branch { level: branch.level(), children: children(keys, entries, sizes, digests)? }))
}

/// The columns of a leaf of the manifest.
pub(super) fn manifest<'a>(node: &fb::Node<'a>, count: usize) -> Result<ManifestColumns<'a>, Misfit> {
    let leaf = node.manifest().ok_or_else(|| Misfit("it is no leaf of the manifest".to_owned()))?;
    let kinds = column::bytes(leaf.kinds());
    if kinds.len() != count {
        return misfit(format!("it has {} kinds for {count} keys", kinds.len()));
    }
    let kinds: Vec<_> = kinds.iter().copied().map(u64::from).collect();
    let virtuals = kinds.iter().filter(|kind| **kind == VIRTUAL).count();
    let mut files = Vec::new();
    column::read_strings(leaf.files(), leaf.file_count() as usize, "files", |text| push_file(&mut files, text))?;
    Ok(ManifestColumns {
        kinds,
        sizes: column::read(leaf.sizes(), count, "sizes")?,
        inline: column::bytes(leaf.inline()),
        places: column::read(leaf.places(), virtuals, "places")?,
        gaps: column::read(leaf.gaps(), virtuals, "gaps")?,
        files,
    })
}

/// The columns of a leaf of a history.
pub(super) fn history<'a>(node: &fb::Node<'a>, count: usize) -> Result<HistoryColumns<'a>, Misfit> {
    let leaf = node.history().ok_or_else(|| Misfit("it is no leaf of a history".to_owned()))?;
    let lengths = column::read(leaf.summary_lengths(), count, "lengths of summaries")?;
    Ok(HistoryColumns { lengths, summaries: column::bytes(leaf.summaries()) })
}
