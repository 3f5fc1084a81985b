//! A batch of what a reference set holds, on its way from the thread that reads to the session.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use firnline::{Key, Result, VirtualRefs};

/// How many references and values a batch holds at most.
const MOST: usize = 1 << 16;

/// How many bytes of keys, URLs and values a batch holds at most, but for the last one.
const MOST_BYTES: usize = 8 << 20;

/// References in columns, and values. Of two with one key, the later counts.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The keys of the references, one behind the other, and where each ends.
    keys: String,
    ends: Vec<usize>,
    pub(super) urls: Vec<String>,
    pub(super) url: Vec<u32>,
    pub(super) offset: Vec<u64>,
    pub(super) length: Vec<u64>,
    /// Values, each with the number of references that came before it.
    pub(super) values: Vec<(usize, Key, Bytes)>,
    /// The numbers of URLs, by the text that the set gives for them.
    numbers: HashMap<Arc<str>, u32>,
    last: Option<(Arc<str>, u32)>,
    bytes: usize,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.url.is_empty() && self.values.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.url.len() + self.values.len() >= MOST || self.bytes >= MOST_BYTES
    }

    /// The number of the URL that `place` stands for; `url` is asked the first time.
    pub(super) fn number(&mut self, place: &str, url: impl FnOnce() -> Result<String>) -> Result<u32> {
        if let Some((_, number)) = self.last.as_ref().filter(|(last, _)| **last == *place) {
            return Ok(*number);
        }
        let (place, number) = if let Some((place, number)) = self.numbers.get_key_value(place) {
            (Arc::clone(place), *number)
        } else {
            let url = url()?;
            // Fewer than `MOST`.
            let number = u32::try_from(self.urls.len()).unwrap_or(VirtualRefs::ABSENT);
            self.bytes += url.len() + place.len();
            self.urls.push(url);
            let place: Arc<str> = place.into();
            self.numbers.insert(Arc::clone(&place), number);
            (place, number)
        };
        self.last = Some((place, number));
        Ok(number)
    }

    pub(super) fn add_reference(&mut self, prefix: &str, key: &str, url: u32, offset: u64, length: u64) {
        self.keys.push_str(prefix);
        self.keys.push_str(key);
        self.bytes += prefix.len() + key.len();
        self.ends.push(self.keys.len());
        self.url.push(url);
        self.offset.push(offset);
        self.length.push(length);
    }

    pub(super) fn add_value(&mut self, key: Key, value: Bytes) {
        self.bytes += key.as_str().len() + value.len();
        self.values.push((self.url.len(), key, value));
    }

    /// The keys of the references.
    pub(super) fn keys(&self) -> Vec<&str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.keys.get(start..*end).unwrap_or_default()).collect()
    }

    /// Takes out the references that a later value of the same key replaces. Values that a later reference replaces stay: values are
    /// staged before references.
    pub(super) fn settle_repeats(&mut self) {
        if self.values.is_empty() || self.url.is_empty() {
            return;
        }
        // Of several values the last says up to where references are replaced.
        let values: HashMap<&str, usize> = self.values.iter().map(|(before, key, _)| (key.as_str(), *before)).collect();
        let keys = self.keys();
        let replaced = keys.iter().enumerate().filter(|(n, key)| values.get(*key).is_some_and(|before| n < before));
        for n in replaced.map(|(n, _)| n).collect::<Vec<_>>() {
            if let Some(url) = self.url.get_mut(n) {
                *url = VirtualRefs::ABSENT;
            }
        }
    }
}
