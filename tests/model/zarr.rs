//! The Zarr rule as a model knows it: a handful of documents whose meaning is written beside them.

use std::collections::BTreeSet;

use super::oracle::{Staged, Tree, Value};

/// What a document says: the class of an array stands for everything but its length that decides how chunks are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Group,
    Array { class: u8, length: u8 },
    Nothing,
}

pub(crate) const DOCUMENTS: [&str; 3] = [".zarray", ".zgroup", "zarr.json"];

macro_rules! array3 {
    ($length:literal, $type:literal, $attributes:literal) => {
        concat!(
            r#"{"zarr_format":3,"node_type":"array","shape":["#,
            $length,
            r#"],"data_type":""#,
            $type,
            r#"","attributes":"#,
            $attributes,
            "}"
        )
    };
}

const MEANINGS: [(&str, &str, Meaning); 9] = [
    ("zarr.json", r#"{"zarr_format":3,"node_type":"group"}"#, Meaning::Group),
    ("zarr.json", r#"{"zarr_format":3,"node_type":"group","attributes":{"a":1}}"#, Meaning::Group),
    ("zarr.json", array3!(5, "int8", "{}"), Meaning::Array { class: 0, length: 5 }),
    ("zarr.json", array3!(5, "int8", r#"{"a":1}"#), Meaning::Array { class: 0, length: 5 }),
    ("zarr.json", array3!(6, "int8", "{}"), Meaning::Array { class: 0, length: 6 }),
    ("zarr.json", array3!(5, "int16", "{}"), Meaning::Array { class: 1, length: 5 }),
    (".zarray", r#"{"zarr_format":2,"shape":[5],"dtype":"|i1"}"#, Meaning::Array { class: 0, length: 5 }),
    (".zarray", r#"{"zarr_format":2,"shape":[6],"dtype":"|i1"}"#, Meaning::Array { class: 0, length: 6 }),
    (".zgroup", r#"{"zarr_format":2}"#, Meaning::Group),
];

/// The documents that make sense under a key.
pub(crate) fn texts(key: &str) -> Vec<&'static str> {
    let name = key.rsplit('/').next().unwrap();
    MEANINGS.iter().filter(|(of, ..)| *of == name).map(|(_, text, _)| *text).collect()
}

fn directory(key: &str) -> &str {
    &key[..key.rfind('/').map_or(0, |at| at + 1)]
}

fn is_node_document(key: &str) -> bool {
    DOCUMENTS.contains(&&key[directory(key).len()..])
}

fn meaning(key: &str, value: Option<&Value>) -> Option<Meaning> {
    let value = value?;
    let name = &key[directory(key).len()..];
    let found = MEANINGS.iter().find(|(of, text, _)| *of == name && *value == Value::Bytes(text.as_bytes().to_vec()));
    Some(found.map_or(Meaning::Nothing, |(.., meaning)| *meaning))
}

/// Whether a change of a document matters to chunks of its node, and to everything set below it.
fn judge(old: Option<Meaning>, new: Option<Meaning>) -> (bool, bool) {
    use Meaning::{Array, Group, Nothing};
    match (old, new) {
        (None | Some(Group), Some(Group)) | (None, None) => (false, false),
        (Some(Group), None) => (false, true),
        (Some(Array { .. } | Nothing), None) | (Some(Group), Some(Array { .. })) | (Some(Array { .. }), Some(Group)) => (true, true),
        (Some(Array { class: a, length: m }), Some(Array { class: b, length: n })) => (a != b || n < m, false),
        (None, Some(Array { .. } | Nothing)) | (Some(Nothing), Some(_)) | (Some(_), Some(Nothing)) => (true, false),
    }
}

/// The base, the tip and what is staged, seen together.
pub(crate) struct Race<'a> {
    pub(crate) base: &'a Tree,
    pub(crate) tip: &'a Tree,
    pub(crate) staged: &'a Staged,
}

impl Race<'_> {
    fn keys(&self) -> BTreeSet<&String> {
        self.base.keys().chain(self.tip.keys()).chain(self.staged.explicit.keys()).collect()
    }

    fn is_touched(&self, key: &str) -> bool {
        self.staged.explicit.contains_key(key) || self.staged.covers(key)
    }

    fn ours(&self, key: &str) -> Option<&Value> {
        match self.staged.explicit.get(key) {
            Some(value) => value.as_ref(),
            None if self.staged.covers(key) => None,
            None => self.base.get(key),
        }
    }

    /// Whether no node lies between a directory and a key in it, on any side.
    fn is_nearest(&self, node: &str, key: &str) -> bool {
        let is_node = |directory: &str| {
            let has = |name: &&str| {
                let document = format!("{directory}{name}");
                let is_staged = matches!(self.staged.explicit.get(&document), Some(Some(_)));
                is_staged || self.base.contains_key(&document) || self.tip.contains_key(&document)
            };
            DOCUMENTS.iter().any(has)
        };
        let ends = key.match_indices('/').map(|(at, _)| at + 1).filter(|end| *end > node.len());
        !ends.map(|end| &key[..end]).any(is_node)
    }

    /// The nodes in conflict: their directories and whether they were groups.
    pub(crate) fn nodes(&self) -> BTreeSet<(bool, String)> {
        let mut found = BTreeSet::new();
        for document in self.keys().into_iter().filter(|key| is_node_document(key)) {
            let node = directory(document);
            let (before, now, ours) = (self.base.get(document), self.tip.get(document), self.ours(document));
            let of = |value| meaning(document, value);
            let is_chunk = |key: &str| !is_node_document(key) && self.is_nearest(node, key);
            let below = || self.keys().into_iter().filter(|key| key.starts_with(node) && *key != document);
            let is_hit = if !self.is_touched(document) && before != now {
                let (chunks, all) = judge(of(before), of(now));
                below().any(|key| {
                    let ours = self.ours(key);
                    self.is_touched(key) && ours != self.tip.get(key) && ((all && ours.is_some()) || (chunks && is_chunk(key)))
                })
            } else if self.staged.explicit.contains_key(document) && before == now && ours != before {
                let (chunks, all) = judge(of(before), of(ours));
                below().any(|key| {
                    let (was, now) = (self.base.get(key), self.tip.get(key));
                    let is_own = directory(key) == node && is_node_document(key) && self.staged.explicit.contains_key(key);
                    was != now && self.ours(key) != now && !is_own && ((all && now.is_some()) || (chunks && is_chunk(key)))
                })
            } else {
                false
            };
            if is_hit {
                found.insert((of(before) == Some(Meaning::Group), node.to_owned()));
            }
        }
        found
    }

    /// The keys in conflict.
    pub(crate) fn conflicting_keys(&self) -> Vec<&String> {
        let mut keys: Vec<_> = self.base.keys().chain(self.tip.keys()).collect::<BTreeSet<_>>().into_iter().collect();
        keys.retain(|key| self.base.get(*key) != self.tip.get(*key) && self.is_touched(key) && self.ours(key) != self.tip.get(*key));
        keys
    }

    /// Everything in conflict, as a commit names it.
    pub(crate) fn conflicts(&self) -> Vec<String> {
        let nodes = self.nodes().into_iter().map(|(is_group, node)| {
            let name = if node.is_empty() { "/" } else { node.trim_end_matches('/') };
            format!("{} {name}", if is_group { "group" } else { "array" })
        });
        self.conflicting_keys().into_iter().cloned().chain(nodes).collect()
    }

    /// Where a policy decides about more than a key.
    fn wholes(&self) -> BTreeSet<String> {
        let mut wholes: BTreeSet<_> = self.nodes().into_iter().map(|(_, node)| node).collect();
        for key in self.conflicting_keys() {
            if is_node_document(key) {
                let (ours, theirs) = (meaning(key, self.ours(key)), meaning(key, self.tip.get(key)));
                if ours != theirs || ours == Some(Meaning::Nothing) {
                    wholes.insert(directory(key).to_owned());
                }
            }
            wholes.extend(self.staged.widest_cover(key));
        }
        wholes
    }

    /// What the branch holds when this session's changes win.
    pub(crate) fn ours_win(&self) -> Tree {
        let wholes = self.wholes();
        let mut tree = self.staged.apply(self.tip);
        for key in self.keys() {
            if !self.is_touched(key) && wholes.iter().any(|whole| key.starts_with(whole.as_str())) {
                match self.base.get(key) {
                    Some(value) => tree.insert(key.clone(), value.clone()),
                    None => tree.remove(key),
                };
            }
        }
        tree
    }

    /// What it holds when the other side's win.
    pub(crate) fn theirs_win(&self) -> Tree {
        let mut left = self.staged.clone();
        for whole in self.wholes() {
            let whole = left.widest_cover(&whole).unwrap_or(whole);
            left.explicit.retain(|key, _| !key.starts_with(&whole));
            left.deleted.retain(|prefix| !prefix.starts_with(&whole));
        }
        for key in self.conflicting_keys() {
            left.explicit.remove(key);
        }
        left.apply(self.tip)
    }
}
