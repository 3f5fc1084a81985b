//! Where a node ends: the cut rule of format v1.
//!
//! After an entry of weight w, with x the weights in the node so far, the node ends if the hash of the entry's key is below
//! w·x³·2^(66−4·target): rarely while the node is light, almost surely once it is much heavier than the target. It also ends when its
//! encoded size has reached the limit. Only the keys, kinds and lengths of the node's entries decide, and never earlier nodes, so
//! cutting can begin afresh at any boundary.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Shape;
use crate::format::FileKey;
use crate::key::order;
use crate::seeded::Seeded;

/// What every entry adds to a node's size besides its key, text and file, in bytes.
const FIXED_SIZE: usize = 48;

/// What the rule looks at in one entry.
pub(super) struct Measure<'a> {
    /// The key; of a branch entry its last key.
    pub(super) key: &'a str,
    /// The weight by the entry's kind.
    pub(super) weight: u64,
    /// The length of inline bytes or of a summary.
    pub(super) text: usize,
    /// The external file that the entry points into.
    pub(super) file: Option<&'a FileKey>,
}

/// Follows the entries of one level from left to right and tells where nodes end.
pub(super) struct Cutter {
    shape: Shape,
    level: u8,
    weight: u64,
    size: usize,
    count: usize,
    files: HashSet<FileKey, Seeded>,
    /// The file of the last virtual entry: neighbours mostly share one, and then no set is asked.
    file: Option<FileKey>,
    encoded: Vec<u8>,
}

impl Cutter {
    /// Begins at a boundary of `level`.
    pub(super) fn new(shape: Shape, level: u8) -> Self {
        Self { shape, level, weight: 0, size: 0, count: 0, files: HashSet::default(), file: None, encoded: Vec::new() }
    }

    /// Appends an entry to the node; `true` means that the node ends with it, and the next entry begins a new one.
    pub(super) fn push(&mut self, entry: &Measure<'_>) -> bool {
        self.encoded.clear();
        order::encode(entry.key, &mut self.encoded);
        self.count += 1;
        self.weight = self.weight.saturating_add(entry.weight);
        self.size += self.encoded.len() + FIXED_SIZE + entry.text;
        if let Some(file) = entry.file {
            self.size += self.first_use(file);
        }
        let may_end = self.level == 0 || self.count >= 2;
        let ends = may_end && (self.size >= self.shape.limit || self.is_cut_by_hash(entry.weight));
        if ends {
            self.restart();
        }
        ends
    }

    /// Begins a new node, whatever the last one was.
    pub(super) fn restart(&mut self) {
        (self.weight, self.size, self.count) = (0, 0, 0);
        self.files.clear();
        self.file = None;
    }

    fn is_cut_by_hash(&self, weight: u64) -> bool {
        let threshold = threshold(weight, self.weight, self.shape.target);
        threshold > 0
            && (threshold > u128::from(u64::MAX) || u128::from(xxh3_64_with_seed(&self.encoded, u64::from(self.level))) < threshold)
    }

    /// The bytes of a file's name when the node names it for the first time, else 0.
    fn first_use(&mut self, file: &FileKey) -> usize {
        if self.file.as_ref() == Some(file) {
            return 0;
        }
        self.file = Some(file.clone());
        if self.files.contains(file) {
            return 0;
        }
        self.files.insert(file.clone());
        file.container().len() + file.args().map(str::len).sum::<usize>()
    }
}

/// `w · x³ · 2^(66 − 4·target)`, exact below 2^64 and at least 2^64 above.
fn threshold(weight: u64, total: u64, target: u32) -> u128 {
    let (w, x) = (u128::from(weight), u128::from(total));
    let product = w.saturating_mul(x).saturating_mul(x).saturating_mul(x);
    match 66_u32.checked_sub(target.saturating_mul(4)) {
        Some(up) => product.saturating_mul(1_u128 << up),
        None => product.checked_shr(target.saturating_mul(4) - 66).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::HashAlgorithm;

    #[test]
    fn the_threshold_is_the_formula_and_saturates() {
        assert_eq!(threshold(8, 8, 13), (8 * 512) << 14);
        assert_eq!(threshold(40, 4000, 13), (40 * 4000_u128.pow(3)) << 14);
        assert_eq!(threshold(40, 80, 17), (40 * 80_u128.pow(3)) >> 2);
        assert_eq!(threshold(40, 80, u32::MAX), 0);
        assert!(threshold(u64::MAX, u64::MAX, 0) > u128::from(u64::MAX));
    }

    #[test]
    fn a_branch_holds_two_entries_before_it_ends() {
        // A limit of one byte ends every leaf after one entry, and every branch after two.
        let shape = Shape { hash: HashAlgorithm::Sha2_256, target: 13, limit: 1 };
        let ends = |level| {
            let mut cutter = Cutter::new(shape, level);
            ["a", "b", "c", "d"].map(|key| cutter.push(&Measure { key, weight: 40, text: 0, file: None }))
        };
        assert_eq!(ends(0), [true; 4]);
        assert_eq!(ends(1), [false, true, false, true]);
    }

    #[test]
    fn a_file_counts_once_in_each_node() {
        let file = |arg| FileKey::new("c", [arg]).unwrap();
        let (a, b) = (file("aaaaaaaaa"), file("bbbbbbbbb"));
        // Each entry is 1 + 48 bytes, each file 10; the fourth entry reaches 216 = 4·49 + 20 exactly.
        let shape = Shape { hash: HashAlgorithm::Sha2_256, target: 30, limit: 216 };
        let mut cutter = Cutter::new(shape, 0);
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let files = [&a, &b, &a, &b, &b, &a, &b, &a];
        let ends: Vec<_> =
            keys.iter().zip(files).map(|(key, f)| cutter.push(&Measure { key, weight: 8, text: 0, file: Some(f) })).collect();
        assert_eq!(ends, [false, false, false, true, false, false, false, true]);
    }
}
