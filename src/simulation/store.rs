//! What lies in the store: objects, with what was there a short while ago, and registers.

use std::collections::BTreeMap;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::storage::{Expected, Version, Versioned};

/// An object, and since when there is one of its name.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) bytes: Bytes,
    /// When it was written last.
    pub(super) modified: u64,
    /// Since when it has been there.
    since: u64,
}

/// An object that was removed.
#[derive(Debug, Clone)]
struct Removed {
    name: String,
    stored: Stored,
    at: u64,
}

/// The content of the store. Cheap to copy: bytes are shared.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects {
    immutable: BTreeMap<String, Stored>,
    registers: BTreeMap<String, Bytes>,
    removed: Vec<Removed>,
    /// Whether a collection is under way, by its register.
    pub(super) is_collecting: bool,
}

impl Objects {
    pub(super) fn get(&self, name: &str) -> Option<&Bytes> {
        self.immutable.get(name).map(|stored| &stored.bytes)
    }

    pub(super) fn put(&mut self, name: &str, bytes: Bytes, now: u64) {
        let since = self.immutable.get(name).map_or(now, |stored| stored.since);
        self.immutable.insert(name.to_owned(), Stored { bytes, modified: now, since });
    }

    /// Removes an object; whether it was there.
    pub(super) fn remove(&mut self, name: &str, now: u64) -> bool {
        let Some(stored) = self.immutable.remove(name) else { return false };
        self.removed.push(Removed { name: name.to_owned(), stored, at: now });
        true
    }

    pub(super) fn load(&self, name: &str) -> Option<Versioned> {
        self.registers.get(name).map(|value| Versioned { value: value.clone(), version: version_of(value) })
    }

    /// Replaces a register if it is as expected. The version is a hash of the bytes, as in S3: it comes back if the bytes do.
    pub(super) fn replace(&mut self, name: &str, expected: &Expected, value: &Bytes) -> Option<Version> {
        let current = self.registers.get(name).map(version_of);
        if !expected.admits(current.as_ref()) {
            return None;
        }
        self.registers.insert(name.to_owned(), value.clone());
        Some(version_of(value))
    }

    /// The objects and registers whose names begin with `prefix`, objects as they were at `then`.
    pub(super) fn list(&self, prefix: &str, then: u64) -> Vec<(String, u64, u64)> {
        let there = self.immutable.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        let there = there.filter(|(_, stored)| stored.since <= then);
        let gone = self.removed.iter().filter(|gone| gone.name.starts_with(prefix) && gone.stored.since <= then && gone.at > then);
        let gone = gone.filter(|gone| self.immutable.get(&gone.name).is_none_or(|stored| stored.since > then));
        let row = |(name, stored): (&String, &Stored)| (name.clone(), stored.bytes.len() as u64, stored.modified);
        let mut rows: Vec<_> = there.map(row).chain(gone.map(|gone| row((&gone.name, &gone.stored)))).collect();
        let registers = self.registers.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        rows.extend(registers.map(|(name, value)| (name.clone(), value.len() as u64, then)));
        rows
    }
}

fn version_of(value: &Bytes) -> Version {
    Version(Bytes::copy_from_slice(&xxh3_128(value).to_be_bytes()))
}
