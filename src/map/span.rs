//! Which part of a map a scan covers.

use std::cmp::Ordering;
use std::ops::Range;

use crate::format::{Branch, Leaf};
use crate::key::{MapKey, Prefix, order};

/// A place between two keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edge {
    /// Before every key.
    Start,
    /// Just before a key, whether the map holds it or not.
    Before(MapKey),
    /// After every key that begins with this string, which must not end in a digit: only then are such keys
    /// neighbours.
    AfterPrefix(MapKey),
    /// After every key.
    End,
}

impl Edge {
    /// Just before everything below `prefix`.
    pub(crate) fn before_prefix(prefix: &Prefix) -> Self {
        if prefix.as_str().is_empty() { Self::Start } else { Self::Before(prefix.as_map_key().clone()) }
    }

    /// Just after everything below `prefix`.
    pub(crate) fn after_prefix(prefix: &Prefix) -> Self {
        if prefix.as_str().is_empty() { Self::End } else { Self::AfterPrefix(prefix.as_map_key().clone()) }
    }

    /// Whether `key` lies before this place.
    pub(super) fn is_after(&self, key: &MapKey) -> bool {
        match self {
            Self::Start => false,
            Self::Before(edge) => key < edge,
            Self::AfterPrefix(prefix) => key.as_str().starts_with(prefix.as_str()) || key < prefix,
            Self::End => true,
        }
    }

    /// The least string of bytes that no encoding of a key before this place reaches; `None` at the end.
    fn encoded(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Start => {}
            Self::Before(key) => order::encode(key.as_str(), &mut out),
            Self::AfterPrefix(prefix) => {
                order::encode(prefix.as_str(), &mut out);
                // No byte of UTF-8 is 0xff.
                *out.last_mut()? += 1;
            }
            Self::End => return None,
        }
        Some(out)
    }
}

impl PartialOrd for Edge {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(match (self.encoded(), other.encoded()) {
            (Some(a), Some(b)) => a.cmp(&b),
            (a, b) => a.is_none().cmp(&b.is_none()),
        })
    }
}

/// The keys between two places; none when they are the wrong way round.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Where it begins.
    pub from: Edge,
    /// Where it ends.
    pub to: Edge,
}

impl Span {
    /// Every key.
    pub(crate) const fn all() -> Self {
        Self { from: Edge::Start, to: Edge::End }
    }

    /// Every key from `key` on, whether the map holds it or not.
    pub(crate) const fn since(key: MapKey) -> Self {
        Self { from: Edge::Before(key), to: Edge::End }
    }

    /// Every key below `prefix`.
    pub(crate) fn prefix(prefix: &Prefix) -> Self {
        Self { from: Edge::before_prefix(prefix), to: Edge::after_prefix(prefix) }
    }

    /// Neighbouring keys, among them every key that begins with `text`: all that begin with it, less the digits at its end, which
    /// stand apart in the order.
    pub(crate) fn beginning(text: &str) -> Self {
        let text = text.trim_end_matches(|c: char| c.is_ascii_digit());
        if text.is_empty() {
            return Self::all();
        }
        Self { from: Edge::Before(MapKey::new(text)), to: Edge::AfterPrefix(MapKey::new(text)) }
    }

    /// Drops what lies before `edge`.
    pub(super) fn raise(&mut self, edge: Edge) {
        if edge > self.from {
            self.from = edge;
        }
    }

    /// Drops what lies after `edge`.
    pub(super) fn lower(&mut self, edge: Edge) {
        if edge < self.to {
            self.to = edge;
        }
    }

    /// Whether `key` lies inside.
    pub(super) fn holds(&self, key: &MapKey) -> bool {
        !self.from.is_after(key) && self.to.is_after(key)
    }

    /// The entries of a leaf that lie inside.
    pub(super) fn of_leaf<V>(&self, leaf: &Leaf<V>) -> Range<usize> {
        let from = leaf.entries.partition_point(|(key, _)| self.from.is_after(key));
        let to = leaf.entries.partition_point(|(key, _)| self.to.is_after(key));
        from..to.max(from)
    }

    /// The children of a branch that may hold keys inside.
    pub(super) fn of_branch(&self, branch: &Branch) -> Range<usize> {
        let from = branch.children.partition_point(|c| self.from.is_after(&c.last));
        let to = branch.children.partition_point(|c| self.to.is_after(&c.last));
        // The first child that ends at or after the end may begin before it.
        let to = (to + 1).min(branch.children.len());
        from..to.max(from)
    }

    /// Whether no key after `low` up to `last` lies inside.
    pub(super) fn misses(&self, low: Option<&MapKey>, last: &MapKey) -> bool {
        self.from.is_after(last) || low.is_some_and(|low| !self.to.is_after(low))
    }
}

/// Several parts of a map, in order, none of which touches another.
#[derive(Debug, Clone)]
pub(crate) struct Spans(Vec<Span>);

impl Spans {
    /// Every key.
    pub(crate) fn all() -> Self {
        Self(vec![Span::all()])
    }

    /// The keys of one span.
    pub(crate) fn one(span: Span) -> Self {
        Self(vec![span])
    }

    /// What [`Span::beginning`] gives for each of `texts`.
    pub(crate) fn beginnings(texts: impl IntoIterator<Item = String>) -> Self {
        let mut texts: Vec<_> = texts.into_iter().map(|text| text.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()).collect();
        texts.sort_unstable();
        // Without those that begin with another, the rest have no keys in common.
        texts.dedup_by(|longer, kept| longer.starts_with(kept.as_str()));
        let mut spans: Vec<_> = texts.iter().map(|text| Span::beginning(text)).collect();
        spans.sort_by(|a, b| a.from.partial_cmp(&b.from).unwrap_or(Ordering::Equal));
        Self(spans)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `key` lies in one of them.
    pub(super) fn hold(&self, key: &MapKey) -> bool {
        let at = self.0.partition_point(|span| !span.to.is_after(key));
        self.0.get(at).is_some_and(|span| span.holds(key))
    }

    /// Whether a key after `low` up to `last` may lie in one of them.
    pub(super) fn meet(&self, low: Option<&MapKey>, last: &MapKey) -> bool {
        let at = self.0.partition_point(|span| low.is_some_and(|low| !span.to.is_after(low)));
        self.0.get(at).is_some_and(|span| !span.misses(low, last))
    }
}
