//! The staged moves. A policy keeps or drops a move as a whole, so that it never drops the value under its new name and deletes it
//! under the old one.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::seeded::Seeded;
use crate::snapshot::KeyOrPrefix;
use crate::zarr;

/// The moves of a session. They stay in memory, unlike the keys that they moved.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moves {
    /// From where to where.
    all: Vec<[KeyOrPrefix; 2]>,
    /// Which of them begin or end at a key, or a prefix.
    at: BTreeMap<String, Vec<usize>>,
    known: HashSet<[KeyOrPrefix; 2], Seeded>,
}

impl Moves {
    /// Adds a move. Returns `false`, and does nothing, if it is there already.
    pub(crate) fn add(&mut self, from: KeyOrPrefix, to: KeyOrPrefix) -> bool {
        if !self.known.insert([from.clone(), to.clone()]) {
            return false;
        }
        for place in [&from, &to] {
            self.at.entry(place.as_str().to_owned()).or_default().push(self.all.len());
        }
        self.all.push([from, to]);
        true
    }

    /// All moves, oldest first: from where to where. None is there twice.
    pub(crate) fn all(&self) -> &[[KeyOrPrefix; 2]] {
        &self.all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The source and the destination of a move.
    pub(crate) fn ends(&self, n: usize) -> &[KeyOrPrefix] {
        self.all.get(n).map_or(&[], |ends| ends)
    }

    /// Takes out the moves that begin or end at, above or below one of `lost`, and those that have a place in common with
    /// one of them, and so on; `with` adds what each lost place takes along. The places of all of them.
    pub(crate) fn lose(&mut self, mut lost: Vec<KeyOrPrefix>, with: impl Fn(&KeyOrPrefix) -> Option<KeyOrPrefix>) -> Vec<KeyOrPrefix> {
        let (mut taken, mut places) = (BTreeSet::new(), Vec::new());
        while let Some(place) = lost.pop() {
            for n in self.touching(&place) {
                if let Some(ends) = self.all.get(n).filter(|_| taken.insert(n)) {
                    let along: Vec<_> = ends.iter().filter_map(&with).collect();
                    lost.extend(ends.iter().cloned().chain(along.iter().cloned()));
                    places.extend(ends.iter().cloned().chain(along));
                }
            }
        }
        let kept = std::mem::take(self).all.into_iter().enumerate().filter(|(n, _)| !taken.contains(n));
        for (_, [from, to]) in kept {
            self.add(from, to);
        }
        places
    }

    /// The moves that begin or end at, above or below a place, by number.
    pub(crate) fn touching(&self, place: &KeyOrPrefix) -> Vec<usize> {
        let text = place.as_str();
        let mut found: Vec<usize> = zarr::directories(text).filter_map(|above| self.at.get(above)).flatten().copied().collect();
        match place {
            KeyOrPrefix::Key(_) => found.extend(self.at.get(text).into_iter().flatten()),
            KeyOrPrefix::Prefix(_) => {
                let below = self.at.range(text.to_owned()..).take_while(|(at, _)| at.starts_with(text));
                found.extend(below.flat_map(|(_, moves)| moves));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Key, Prefix};

    fn place(text: &str) -> KeyOrPrefix {
        if text.is_empty() || text.ends_with('/') {
            return KeyOrPrefix::Prefix(Prefix::new(text).unwrap());
        }
        KeyOrPrefix::Key(Key::new(text).unwrap())
    }

    fn lost(moves: &[(&str, &str)], lost: &str) -> (Vec<String>, usize) {
        let mut all = Moves::default();
        for (from, to) in moves {
            all.add(place(from), place(to));
        }
        let places: BTreeSet<_> = all.lose(vec![place(lost)], |_| None).iter().map(|p| p.as_str().to_owned()).collect();
        (places.into_iter().collect(), all.all.len())
    }

    #[test]
    fn a_move_is_lost_with_either_end_and_with_what_it_is_chained_to() {
        let moves = [("a", "b"), ("b", "c"), ("x/", "y/"), ("y/1", "z")];
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(lost(&moves, "c"), (owned(&["a", "b", "c"]), 2));
        assert_eq!(lost(&moves, "a"), (owned(&["a", "b", "c"]), 2));
        assert_eq!(lost(&moves, "y/7/8"), (owned(&["x/", "y/", "y/1", "z"]), 2));
        assert_eq!(lost(&moves, "z"), (owned(&["x/", "y/", "y/1", "z"]), 2));
        assert_eq!(lost(&moves, "cc"), (Vec::new(), 4));
        assert_eq!(lost(&moves, "").1, 0);
    }
}
