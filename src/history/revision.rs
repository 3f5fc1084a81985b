//! How people name a snapshot: `main`, a tag, a CID or a part of one, `REV~N`, `REV@TIME`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::id::{SnapshotId, parse_cid};
use crate::refs::RefName;

/// A revision as it was written: a name, and steps from there, taken from left to right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    text: String,
    pub(super) base: Base,
    pub(super) steps: Vec<RevisionStep>,
}

/// Where a revision begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// `branch:NAME`
    Branch(RefName),
    /// `tag:NAME`
    Tag(RefName),
    /// A branch, a tag, or the beginning of a CID.
    Name(String),
    /// A whole CID.
    Snapshot(SnapshotId),
}

/// A step back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RevisionStep {
    /// `~N`: N commits back on the first-parent line.
    Back(u64),
    /// `@TIME`: as it was then. Kept as text, since `now` and `2d` depend on the clock.
    At(String),
}

impl FromStr for Revision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let end = text.find(['~', '@']).unwrap_or(text.len());
        let (name, mut rest) = text.split_at(end);
        let base = parse_base(name).map_err(|e| e.context(format!("revision {text:?}")))?;
        let mut steps = Vec::new();
        while let Some(mark) = rest.chars().next() {
            let tail = rest.get(mark.len_utf8()..).unwrap_or_default();
            let end = tail.find(['~', '@']).unwrap_or(tail.len());
            let (argument, next) = tail.split_at(end);
            steps.push(match mark {
                '~' if argument.is_empty() => RevisionStep::Back(1),
                '~' => RevisionStep::Back(
                    argument.parse().map_err(|_| Error::invalid(format!("revision {text:?}: {argument:?} is not a number of commits")))?,
                ),
                _ => RevisionStep::At(argument.to_owned()),
            });
            rest = next;
        }
        Ok(Self { text: text.to_owned(), base, steps })
    }
}

fn parse_base(name: &str) -> Result<Base> {
    if name.is_empty() {
        return Err(Error::invalid("no branch, tag or CID is named"));
    }
    if let Some(branch) = name.strip_prefix("branch:") {
        return Ok(Base::Branch(branch.parse()?));
    }
    if let Some(tag) = name.strip_prefix("tag:") {
        return Ok(Base::Tag(tag.parse()?));
    }
    match parse_cid(name) {
        Ok(cid) => Ok(Base::Snapshot(SnapshotId::from_cid(&cid)?)),
        Err(_) => Ok(Base::Name(name.to_owned())),
    }
}

impl From<SnapshotId> for Revision {
    fn from(id: SnapshotId) -> Self {
        Self { text: id.to_string(), base: Base::Snapshot(id), steps: Vec::new() }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_from_left_to_right() {
        let revision: Revision = "main@2025-03-01T00:00:00-02:00~3~@2 days ago".parse().unwrap();
        assert_eq!(revision.base, Base::Name("main".to_owned()));
        let at = |t: &str| RevisionStep::At(t.to_owned());
        assert_eq!(revision.steps, [at("2025-03-01T00:00:00-02:00"), RevisionStep::Back(3), RevisionStep::Back(1), at("2 days ago")]);
        assert_eq!(revision.to_string(), "main@2025-03-01T00:00:00-02:00~3~@2 days ago");
    }

    #[test]
    fn what_names_nothing_is_invalid() {
        for bad in ["", "~1", "@now", "main~x", "main~-1", "branch:", "tag:a..b", "main~99999999999999999999"] {
            assert_eq!(bad.parse::<Revision>().unwrap_err().kind(), crate::ErrorKind::Invalid, "{bad}");
        }
    }
}
