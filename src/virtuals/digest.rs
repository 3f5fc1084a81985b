//! Digests of whole files, piece by piece, and which of them this process knows.

use sha2::Digest as _;

use super::source::ExternalPlace;
use super::validator::hex;
use crate::error::{Error, Result};
use crate::id::{Digest, HashAlgorithm};

/// How many files' digests are remembered.
pub(super) const REMEMBERED: usize = 16_384;

/// The digest of bytes that come in pieces.
#[expect(clippy::large_enum_variant, reason = "one for each file that is read whole")]
pub(super) enum Digester {
    Sha2(sha2::Sha256),
    Blake3(blake3::Hasher),
}

impl Digester {
    pub(super) fn new(hash: HashAlgorithm) -> Self {
        match hash {
            HashAlgorithm::Sha2_256 => Self::Sha2(sha2::Sha256::new()),
            HashAlgorithm::Blake3 => Self::Blake3(blake3::Hasher::new()),
        }
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Sha2(hasher) => hasher.update(piece),
            Self::Blake3(hasher) => {
                hasher.update(piece);
            }
        }
    }

    pub(super) fn finish(self) -> Digest {
        match self {
            Self::Sha2(hasher) => Digest::new(HashAlgorithm::Sha2_256, hasher.finalize().into()),
            Self::Blake3(hasher) => Digest::new(HashAlgorithm::Blake3, *hasher.finalize().as_bytes()),
        }
    }
}

/// Refuses a file that is not of its locked digest.
pub(super) fn require(place: &ExternalPlace, found: &Digest, locked: &Digest) -> Result<()> {
    if found == locked {
        return Ok(());
    }
    let (hash, expected, found) = (locked.hash(), hex(locked.as_bytes()), hex(found.as_bytes()));
    Err(Error::corrupt(place.says(format_args!("has {hash} digest {found}, but {expected} is locked"))))
}
