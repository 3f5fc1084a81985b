//! A fast hash for maps whose keys are names: XXH3 with a random seed, so that the author of a repository or a CAR file cannot choose
//! names that collide.

use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Makes hashers of one seed, which is drawn at random for each map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Self {
        Self(crate::ambient::hash_seed())
    }
}

impl BuildHasher for Seeded {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Seeded {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 ^= u64::from(byte);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_hashes_differently() {
        let (one, other) = (Seeded::default(), Seeded::default());
        assert_eq!(one.hash_one("a name"), one.hash_one("a name"));
        assert_ne!(one.hash_one("a name"), one.hash_one("b name"));
        assert_ne!(one.hash_one("a name"), other.hash_one("a name"));
    }
}
