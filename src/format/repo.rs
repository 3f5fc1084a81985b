//! `repo.json`: what makes a directory a repository. Written once, readable by people.

use serde::{Deserialize, Serialize};

use super::limits;
use crate::error::{Error, Result};
use crate::id::HashAlgorithm;
use crate::time::Timestamp;

/// The only format that this build knows.
const FORMAT: u64 = 1;
const README: &str = "This directory is a Firnline repository. Everything in it is named by its content: do not edit, move or delete files here, use the command `firn` instead.";

/// What a repository is, for as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RepoConfig {
    /// The hash of every id in it.
    pub hash: HashAlgorithm,
    /// When it was made.
    pub created: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepoRecord {
    readme: String,
    format: u64,
    hash: String,
    created: String,
}

/// All that may be read before the format is known.
#[derive(Deserialize)]
struct Probe {
    format: u64,
}

impl RepoConfig {
    /// The bytes of `repo.json`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let record =
            RepoRecord { readme: README.to_owned(), format: FORMAT, hash: self.hash.name().to_owned(), created: self.created.to_string() };
        let mut bytes = serde_json::to_vec_pretty(&record).expect("four plain fields are always JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads `repo.json`. Another format or hash is `Unsupported`; anything else that is not as written here is `Corrupt`, except the
    /// text for people, which is not read back.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes).map_err(|e| e.context("repo.json"))
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > limits::REPO {
            return Err(Error::corrupt(format!("it has {} bytes; at most {} are allowed", bytes.len(), limits::REPO)));
        }
        let malformed = |e| Error::corrupt("it is not the description of a repository").caused_by(e);
        let probe: Probe = serde_json::from_slice(bytes).map_err(malformed)?;
        if probe.format != FORMAT {
            return Err(Error::unsupported(format!("format {}; this build knows {FORMAT}", probe.format)));
        }
        let record: RepoRecord = serde_json::from_slice(bytes).map_err(malformed)?;
        let hash = record.hash.parse()?;
        let created = chrono::DateTime::parse_from_rfc3339(&record.created)
            .map_err(|e| Error::corrupt(format!("its date {:?} is not RFC 3339", record.created)).caused_by(e))?;
        Ok(Self { hash, created: Timestamp::from_micros(created.timestamp_micros()) })
    }
}
