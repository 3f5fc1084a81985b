//! Names of branches and tags.

use std::fmt;
use std::str::FromStr as _;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::Cid;
use crate::key::string_like;
use crate::storage::RegisterName;

/// The longest name of a ref, in bytes.
pub(crate) const MAX_REF_NAME: usize = 128;

/// A valid name for a branch or a tag: `[A-Za-z0-9][A-Za-z0-9._/-]*`, at most 128 bytes.
///
/// No segment is empty or begins with a dot, none but the last ends in `.json` (a file system would confuse it with
/// a ref's own file), the name does not end in `.lock`, and it is not a CID. No new ref gets a name that could be the
/// beginning of a snapshot's id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RefName(String);

/// How the ids of all snapshots begin, by hash: sha2-256, blake3.
const ID_BEGINNINGS: [&str; 2] = ["bafyrei", "bafyr4i"];
/// The length of the shortest text that is read as the beginning of a snapshot's id.
const SHORTEST_ID: usize = 13;

/// Whether a revision reads `text` as the beginning of a snapshot's id, and therefore never as the name of a ref.
pub(crate) fn is_like_an_id(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.len() >= SHORTEST_ID
        && lower.bytes().all(|b| b.is_ascii_alphanumeric())
        && ID_BEGINNINGS.iter().any(|beginning| lower.starts_with(beginning))
}

impl RefName {
    /// Parses `text`; the error names it and what is wrong with it.
    pub fn new(text: &str) -> Result<Self> {
        let shown: String = text.chars().take(MAX_REF_NAME + 1).collect();
        let refuse = |why: &str| Err(Error::invalid(format!("ref name {shown:?} {why}")));
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return refuse("does not begin with a letter or a digit");
        }
        if text.len() > MAX_REF_NAME {
            return refuse("is longer than 128 bytes");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-".contains(&b)) {
            return refuse("has a character other than letters, digits and . _ / -");
        }
        if text.contains("..") || text.split('/').any(|s| s.is_empty() || s.starts_with('.')) {
            return refuse("has an empty segment, a segment that begins with a dot, or two dots in a row");
        }
        let is_lower_json = |s: &str| s.to_ascii_lowercase().ends_with(".json");
        if text.rsplit_once('/').is_some_and(|(head, _)| head.split('/').any(is_lower_json)) {
            return refuse("has a segment before the last that ends in .json");
        }
        if text.to_ascii_lowercase().ends_with(".lock") {
            return refuse("ends in .lock");
        }
        if Cid::from_str(text).is_ok() {
            return refuse("is a CID");
        }
        Ok(Self(text.to_owned()))
    }

    /// Refuses a name for a new ref that a revision would read as the beginning of a snapshot's id.
    pub(crate) fn require_unlike_an_id(&self) -> Result<()> {
        if is_like_an_id(&self.0) {
            return Err(Error::invalid(format!("ref name {self} could be read as the beginning of a snapshot's id; choose another name")));
        }
        Ok(())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

string_like!(RefName, RefName::new);

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Whether a ref moves with commits or stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefKind {
    /// Moves with each commit on it.
    Branch,
    /// Stays, and carries a message.
    Tag,
}

impl RefKind {
    /// The kind in one word: `branch` or `tag`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Tag => "tag",
        }
    }
}

impl fmt::Display for RefKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A branch or a tag by name: what one register holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref {
    /// Branch or tag.
    pub kind: RefKind,
    /// Its name.
    pub name: RefName,
}

impl Ref {
    /// The branch `name`.
    pub fn branch(name: RefName) -> Self {
        Self { kind: RefKind::Branch, name }
    }

    /// The tag `name`.
    pub fn tag(name: RefName) -> Self {
        Self { kind: RefKind::Tag, name }
    }

    /// The branch or tag that people name: `NAME` or `branch:NAME` is a branch, `tag:NAME` a tag. `Invalid` when that is no valid name.
    pub fn named(text: &str) -> Result<Self> {
        Ok(match text.strip_prefix("tag:") {
            Some(tag) => Self::tag(tag.parse()?),
            None => Self::branch(text.strip_prefix("branch:").unwrap_or(text).parse()?),
        })
    }

    /// The register that holds it.
    pub(crate) fn register(&self) -> RegisterName {
        match self.kind {
            RefKind::Branch => RegisterName::branch(self.name.as_str()),
            RefKind::Tag => RegisterName::tag(self.name.as_str()),
        }
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_store_or_a_revision_could_misread_are_refused() {
        let cid = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
        for bad in ["", "-a", ".a", "a..b", "a//b", "a/", "a/.b", "a.lock", "x.LOCK", "a b", "a@b", "a~1", "a:b", "é", "a.json/b", cid] {
            assert!(RefName::new(bad).is_err(), "{bad:?}");
        }
        assert!(RefName::new(&"a".repeat(129)).is_err());
        for good in ["main", "release/1.0", "v1.2_rc-3", "a.json", "0", &"a".repeat(128)] {
            assert_eq!(RefName::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn people_name_branches_and_tags() {
        let main = Ref::branch(RefName::new("main").unwrap());
        assert_eq!((Ref::named("main").unwrap(), Ref::named("branch:main").unwrap()), (main.clone(), main));
        assert_eq!(Ref::named("tag:v1").unwrap(), Ref::tag(RefName::new("v1").unwrap()));
        for bad in ["", "tag:", "branch:", "tag:a..b", "tags:v1"] {
            assert!(Ref::named(bad).is_err(), "{bad:?}");
        }
    }
}
