//! What must hold of a node beyond its shape, whichever form it came from.

use super::{Branch, Entry, HistoryEntry, Node, Value};
use crate::error::{Error, Result};
use crate::format::file::{FileKey, VirtualFile};
use crate::format::limits;
use crate::id::{Digest, HashAlgorithm, MapKind};
use crate::key::MapKey;
use crate::text::shown;

/// What one kind of value demands of itself and of its key. The error says what is wrong; the caller names the key.
pub(crate) trait CheckEntry {
    /// Whether a map of this kind may hold the key.
    fn check_key(key: &MapKey) -> Result<(), String>;
    /// Whether the key may have this value.
    fn check_value(&self, key: &MapKey) -> Result<(), String>;
    /// The digest inside the value, which must be of the repository's hash.
    fn digest(&self) -> Option<&Digest>;
}

/// Refuses ids of another hash (`Unsupported`) and everything else that no writer makes (`Corrupt`).
pub(super) fn node<V: Value>(node: &Node<V>, hash: HashAlgorithm) -> Result<()> {
    match node {
        Node::Leaf(leaf) => {
            rows::<V>(leaf.entries.len(), true)?;
            ascending(leaf.entries.iter().map(|(key, _)| key))?;
            for (key, value) in &leaf.entries {
                same_hash(value.digest(), hash)?;
                V::check_key(key).and_then(|()| value.check_value(key)).map_err(|wrong| at(key, wrong))?;
            }
            sum("sizes", leaf.entries.iter().map(|(_, value)| value.size()))
        }
        Node::Branch(node) => branch::<V>(node, hash),
    }
}

/// Refuses a canonical form of `len` bytes when no node is that long.
pub(super) fn length(len: usize) -> Result<()> {
    if len < limits::NODE { Ok(()) } else { Err(Error::corrupt(format!("it has {len} bytes; a node has less than {}", limits::NODE))) }
}

fn branch<V: Value>(branch: &Branch, hash: HashAlgorithm) -> Result<()> {
    if branch.level == 0 || branch.level > limits::LEVEL || branch.children.is_empty() {
        return Err(Error::corrupt(format!("a branch of level {} with {} children", branch.level, branch.children.len())));
    }
    rows::<V>(branch.children.len(), false)?;
    ascending(branch.children.iter().map(|child| &child.last))?;
    for child in &branch.children {
        same_hash(Some(child.id.digest()), hash)?;
        V::check_key(&child.last).map_err(|wrong| at(&child.last, wrong))?;
        if child.entries == 0 {
            return Err(at(&child.last, "a child without entries"));
        }
    }
    sum("entries", branch.children.iter().map(|child| child.entries))?;
    sum("sizes", branch.children.iter().map(|child| child.bytes))
}

fn at(key: &MapKey, wrong: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("at {:?}: {wrong}", shown(key.as_str())))
}

/// Refuses more rows than a node of this map and form may have.
pub(super) fn rows<V: Value>(count: usize, is_leaf: bool) -> Result<()> {
    let most = most_rows::<V>(is_leaf);
    if count > most { Err(Error::corrupt(format!("it has {count} rows; at most {most} are allowed"))) } else { Ok(()) }
}

/// How many rows a node of this map and form may have.
pub(super) fn most_rows<V: Value>(is_leaf: bool) -> usize {
    if is_leaf && V::KIND == MapKind::Manifest { limits::MANIFEST_ROWS } else { limits::ROWS }
}

fn ascending<'a>(mut keys: impl Iterator<Item = &'a MapKey>) -> Result<()> {
    let Some(mut last) = keys.next() else { return Ok(()) };
    for key in keys {
        if last >= key {
            return Err(at(key, "the keys are not in ascending order"));
        }
        last = key;
    }
    Ok(())
}

pub(in crate::format) fn same_hash(digest: Option<&Digest>, hash: HashAlgorithm) -> Result<()> {
    match digest {
        Some(digest) if digest.hash() != hash => {
            Err(Error::unsupported(format!("it holds an id of hash {} in a repository of {hash}", digest.hash())))
        }
        _ => Ok(()),
    }
}

fn sum(what: &str, mut values: impl Iterator<Item = u64>) -> Result<()> {
    let total = values.try_fold(0, |total: u64, value| total.checked_add(value).filter(|total| *total <= limits::NUMBER));
    total.map(|_| ()).ok_or_else(|| Error::corrupt(format!("the sum of its {what} exceeds {}", limits::NUMBER)))
}

fn number(what: &str, value: u64) -> Result<(), String> {
    if value > limits::NUMBER { Err(format!("{what} {value} exceeds {}", limits::NUMBER)) } else { Ok(()) }
}

fn at_most(what: &str, len: usize, most: usize) -> Result<(), String> {
    if len > most { Err(format!("{what} of {len} bytes; at most {most} are allowed")) } else { Ok(()) }
}

/// Whether `text` is a key of printable ASCII in which no segment is empty or begins with a dot.
fn is_plain(text: &str) -> bool {
    let mut before = b'/';
    text.len() <= crate::key::MAX_KEY
        && text.bytes().all(|byte| {
            let good = matches!(byte, b' '..=b'~') && !(before == b'/' && matches!(byte, b'/' | b'.'));
            before = byte;
            good
        })
        && before != b'/'
}

impl CheckEntry for Entry {
    fn check_key(key: &MapKey) -> Result<(), String> {
        // A node has hundreds of keys, nearly all of plain ASCII: one pass over the bytes settles those.
        if is_plain(key.as_str()) { Ok(()) } else { crate::key::check(key.as_str(), "key").map_err(|e| e.to_string()) }
    }

    fn check_value(&self, key: &MapKey) -> Result<(), String> {
        let limit = Self::inline_limit(key.as_str());
        match self {
            Self::Inline(bytes) => at_most("an inline value", bytes.len(), limit),
            Self::Chunk { size, .. } if *size <= limit as u64 => Err(format!("a stored chunk of {size} bytes belongs inline")),
            Self::Chunk { size, .. } => number("the size", *size),
            Self::Virtual { offset, length, .. } => match offset.checked_add(*length) {
                Some(end) if end <= limits::NUMBER => Ok(()),
                _ => Err(format!("the range {offset} + {length} ends beyond {}", limits::NUMBER)),
            },
        }
    }

    fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Chunk { id, .. } => Some(id.digest()),
            Self::Inline(_) | Self::Virtual { .. } => None,
        }
    }
}

impl CheckEntry for VirtualFile {
    fn check_key(key: &MapKey) -> Result<(), String> {
        FileKey::from_map_key(key).map(|_| ()).map_err(|e| e.to_string())
    }

    fn check_value(&self, _: &MapKey) -> Result<(), String> {
        self.check()
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }
}

impl VirtualFile {
    /// Whether the format can hold this; the error says what is too long or too large.
    pub(crate) fn check(&self) -> Result<(), String> {
        number("the size", self.size.unwrap_or(0))?;
        number("the count of references", self.refs)?;
        number("the sum of their lengths", self.bytes)?;
        at_most("an etag", self.etag.as_ref().map_or(0, Vec::len), limits::ETAG)?;
        at_most("a version", self.version.as_ref().map_or(0, String::len), limits::FILE_VERSION)?;
        at_most("a digest", self.digest.as_ref().map_or(0, Vec::len), limits::FILE_DIGEST)
    }
}

impl CheckEntry for HistoryEntry {
    fn check_key(key: &MapKey) -> Result<(), String> {
        // Digits alone, so that the order of the keys is the order of the times.
        let text = key.as_str();
        let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        match text.parse::<i64>() {
            Ok(_) if canonical => Ok(()),
            _ => Err("the key is not a number of microseconds since 1970".to_owned()),
        }
    }

    fn check_value(&self, _: &MapKey) -> Result<(), String> {
        if self.summary.contains('\n') {
            return Err("the summary has more than one line".to_owned());
        }
        at_most("a summary", self.summary.len(), limits::SUMMARY)
    }

    fn digest(&self) -> Option<&Digest> {
        Some(self.id.digest())
    }
}
