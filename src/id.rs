//! Content identifiers: which hash, which kind of thing, and their text.
//!
//! Every object is named by the CIDv1 of its canonical bytes (design: one hash for a repository, never mixed). The
//! types here keep a node's id from fitting where a snapshot's belongs; [`Cid`] is what they print and parse.

use std::fmt;
use std::str::FromStr;

use multihash::Multihash;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::error::{Error, Result};

pub use cid::Cid;

/// The multicodec of raw bytes: a chunk of at most 1 MiB, or a leaf of a larger one.
pub(crate) const RAW: u64 = 0x55;
/// The multicodec of dag-pb: the root of a chunk above 1 MiB.
pub(crate) const DAG_PB: u64 = 0x70;
/// The multicodec of dag-cbor: nodes and snapshots.
pub(crate) const DAG_CBOR: u64 = 0x71;

/// The length in bytes of every binary CID that this format writes.
pub(crate) const BINARY_CID: usize = 36;

/// The hash of a repository: chosen when it is created, the same for every id in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// SHA2-256, which every IPLD tool knows.
    #[default]
    #[serde(rename = "sha2-256")]
    Sha2_256,
    /// BLAKE3 with 256 bits: several times faster on large chunks, known to fewer tools.
    Blake3,
}

impl HashAlgorithm {
    /// The multihash code.
    pub const fn code(self) -> u64 {
        match self {
            Self::Sha2_256 => 0x12,
            Self::Blake3 => 0x1e,
        }
    }

    /// The name used in `repo.json` and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha2_256 => "sha2-256",
            Self::Blake3 => "blake3",
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        [Self::Sha2_256, Self::Blake3].into_iter().find(|hash| hash.code() == code)
    }

    /// Hashes `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let digest = match self {
            Self::Sha2_256 => sha2::Sha256::digest(bytes).into(),
            Self::Blake3 => *blake3::hash(bytes).as_bytes(),
        };
        Digest { hash: self, bytes: digest }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HashAlgorithm {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        [Self::Sha2_256, Self::Blake3]
            .into_iter()
            .find(|hash| hash.name() == text)
            .ok_or_else(|| Error::unsupported(format!("hash {text:?} is not known; use sha2-256 or blake3")))
    }
}

/// 256 bits and the hash that made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    hash: HashAlgorithm,
    bytes: [u8; 32],
}

impl Digest {
    /// Takes a digest made elsewhere.
    pub const fn new(hash: HashAlgorithm, bytes: [u8; 32]) -> Self {
        Self { hash, bytes }
    }

    /// The hash that made it.
    pub const fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    fn cid(self, codec: u64) -> Cid {
        let multihash = Multihash::wrap(self.hash.code(), &self.bytes).expect("32 bytes fit into a multihash of 64");
        Cid::new_v1(codec, multihash)
    }

    /// The digest in a CIDv1, with its codec; anything but a 256-bit digest of a known hash is `Unsupported`.
    fn of_cid(cid: &Cid) -> Result<(u64, Self)> {
        let unsupported = || Error::unsupported(format!("{cid} is not a CIDv1 with a sha2-256 or blake3 digest of 32 bytes"));
        if cid.version() != cid::Version::V1 {
            return Err(unsupported());
        }
        let hash = HashAlgorithm::from_code(cid.hash().code()).ok_or_else(unsupported)?;
        let bytes = cid.hash().digest().try_into().map_err(|_| unsupported())?;
        Ok((cid.codec(), Self { hash, bytes }))
    }

    fn binary_cid(&self, codec: u64) -> [u8; BINARY_CID] {
        let mut out = [0; BINARY_CID];
        let (head, digest) = out.split_at_mut(4);
        let byte = |n: u64| u8::try_from(n).expect("every code used here is below 128");
        head.copy_from_slice(&[1, byte(codec), byte(self.hash.code()), 32]);
        digest.copy_from_slice(&self.bytes);
        out
    }
}

/// Reads a CID in any multibase, or a CIDv0.
pub(crate) fn parse_cid(text: &str) -> Result<Cid> {
    Cid::from_str(text).map_err(|e| Error::invalid(format!("{text:?} is not a CID")).caused_by(e))
}

/// Reads a binary CID that must fill `bytes` exactly.
pub(crate) fn cid_from_bytes(bytes: &[u8]) -> Result<Cid> {
    let mut rest = bytes;
    let cid = Cid::read_bytes(&mut rest).map_err(|e| Error::corrupt("a binary CID is invalid").caused_by(e))?;
    if rest.is_empty() { Ok(cid) } else { Err(Error::corrupt(format!("{} bytes follow the CID {cid}", rest.len()))) }
}

/// Reads an id as the text of its CID; serde does so too.
macro_rules! text_of_cid {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = Error;

            /// Reads the CID in any multibase; `Invalid` if the text is not a CID.
            fn from_str(text: &str) -> Result<Self> {
                Self::from_cid(&parse_cid(text)?)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl From<$name> for Cid {
            fn from(id: $name) -> Self {
                id.cid()
            }
        }
    };
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Digest);

        impl $name {
            /// The id of `canonical` bytes.
            pub fn of(hash: HashAlgorithm, canonical: &[u8]) -> Self {
                Self(hash.digest(canonical))
            }

            /// Takes a digest that was made of the canonical bytes elsewhere.
            pub const fn from_digest(digest: Digest) -> Self {
                Self(digest)
            }

            /// The digest inside.
            pub const fn digest(&self) -> &Digest {
                &self.0
            }

            /// The id as a CIDv1.
            pub fn cid(&self) -> Cid {
                self.0.cid(DAG_CBOR)
            }

            /// The binary CIDv1.
            pub fn to_bytes(&self) -> [u8; BINARY_CID] {
                self.0.binary_cid(DAG_CBOR)
            }

            /// Takes a dag-cbor CIDv1 with a known hash; anything else is refused as `Unsupported`.
            pub fn from_cid(cid: &Cid) -> Result<Self> {
                match Digest::of_cid(cid)? {
                    (DAG_CBOR, digest) => Ok(Self(digest)),
                    (codec, _) => Err(Error::unsupported(format!(concat!($what, " {} has codec 0x{:x}, not dag-cbor"), cid, codec))),
                }
            }
        }

        text_of_cid!($name);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.cid(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}
id_type!(
    /// Names a snapshot by the canonical bytes of its commit.
    SnapshotId, "snapshot"
);
id_type!(
    /// Names a node of a map by its canonical bytes.
    NodeId, "node"
);

/// Which of the three maps of a snapshot a node belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MapKind {
    /// key → [`Entry`](crate::Entry): what is stored under every key.
    Manifest,
    /// file → [`VirtualFile`](crate::VirtualFile): every external file that the manifest points into.
    Files,
    /// time → [`HistoryEntry`](crate::HistoryEntry): every proper ancestor on the first-parent line.
    History,
}

impl fmt::Display for MapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Files => "files",
            Self::History => "history",
        })
    }
}

/// Whether the id of a chunk is that of its bytes or of the root of a tree over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChunkForm {
    /// One raw block: the chunk has at most 1 MiB.
    Raw,
    /// A UnixFS file of profile `unixfs-v1-2025`: the chunk is larger.
    UnixFs,
}

/// Names a stored chunk by its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChunkId {
    form: ChunkForm,
    digest: Digest,
}

impl ChunkId {
    /// Puts an id together from its parts.
    pub const fn new(form: ChunkForm, digest: Digest) -> Self {
        Self { form, digest }
    }

    /// One raw block or a tree.
    pub const fn form(&self) -> ChunkForm {
        self.form
    }

    /// The digest of the raw block, or of the root of the tree.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    const fn codec(self) -> u64 {
        match self.form {
            ChunkForm::Raw => RAW,
            ChunkForm::UnixFs => DAG_PB,
        }
    }

    /// The id as a CIDv1.
    pub fn cid(&self) -> Cid {
        self.digest.cid(self.codec())
    }

    /// The binary CIDv1.
    pub fn to_bytes(&self) -> [u8; BINARY_CID] {
        self.digest.binary_cid(self.codec())
    }

    /// Takes a raw or dag-pb CIDv1 with a known hash; anything else is refused as `Unsupported`.
    pub fn from_cid(cid: &Cid) -> Result<Self> {
        let (codec, digest) = Digest::of_cid(cid)?;
        let form = match codec {
            RAW => ChunkForm::Raw,
            DAG_PB => ChunkForm::UnixFs,
            _ => return Err(Error::unsupported(format!("chunk {cid} has codec 0x{codec:x}, not raw or dag-pb"))),
        };
        Ok(Self { form, digest })
    }
}

text_of_cid!(ChunkId);

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cid(), f)
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_as_cids() {
        for hash in [HashAlgorithm::Sha2_256, HashAlgorithm::Blake3] {
            let id = SnapshotId::of(hash, b"commit");
            assert_eq!(SnapshotId::from_cid(&parse_cid(&id.to_string()).unwrap()).unwrap(), id);
            assert_eq!(cid_from_bytes(&id.to_bytes()).unwrap(), id.cid());
            assert_eq!(id.cid().to_bytes(), id.to_bytes());
        }
        // `ipfs block put` of an empty raw block, as every tool prints it.
        let empty = ChunkId::new(ChunkForm::Raw, HashAlgorithm::Sha2_256.digest(b""));
        assert_eq!(empty.to_string(), "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku");
    }

    #[test]
    fn ids_go_through_serde_as_the_text_of_their_cids() {
        let (snapshot, node) = (SnapshotId::of(HashAlgorithm::Blake3, b"commit"), NodeId::of(HashAlgorithm::Sha2_256, b"node"));
        let chunk = ChunkId::new(ChunkForm::Raw, HashAlgorithm::Sha2_256.digest(b""));
        let told = serde_json::to_string(&(snapshot, node, chunk)).unwrap();
        assert_eq!(told, format!(r#"["{snapshot}","{node}","{chunk}"]"#));
        assert_eq!(serde_json::from_str::<(SnapshotId, NodeId, ChunkId)>(&told).unwrap(), (snapshot, node, chunk));
        assert!(serde_json::from_str::<SnapshotId>(&format!(r#""{chunk}""#)).is_err(), "a chunk is no snapshot");
        assert_eq!(chunk.to_string().parse::<ChunkId>().unwrap(), chunk);
    }

    #[test]
    fn other_codecs_and_hashes_are_unsupported() {
        let raw = ChunkId::new(ChunkForm::Raw, HashAlgorithm::Sha2_256.digest(b"x")).cid();
        assert_eq!(SnapshotId::from_cid(&raw).unwrap_err().kind(), crate::ErrorKind::Unsupported);
        let short = Cid::new_v1(DAG_CBOR, Multihash::wrap(0x12, &[0; 20]).unwrap());
        assert_eq!(SnapshotId::from_cid(&short).unwrap_err().kind(), crate::ErrorKind::Unsupported);
        assert!(cid_from_bytes(&[raw.to_bytes(), vec![0]].concat()).is_err());
    }
}
