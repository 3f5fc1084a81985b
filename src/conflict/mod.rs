//! Two writers, one branch: what they changed in common, and moving staged work onto a new tip.

mod detect;
mod nodes;
mod rebase;
mod settle;

use std::fmt;

pub(crate) use detect::Conflicts;
pub(crate) use rebase::{Rebased, rebase};

/// What a commit does about keys and arrays that another writer changed as well.
///
/// Decided key by key, but array by array where one side changed how the chunks of an array are read, and prefix by
/// prefix where this session deleted one: half of each would be neither's. Two definitions of one container and two
/// states of one external file are refused under every policy, because references of both sides depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnConflict {
    /// The commit fails, and says what both sides changed.
    #[default]
    Refuse,
    /// What this session staged replaces what the other side did. Of an array (or a deleted group) in conflict
    /// everything ends as this session sees it, the other side's changes of it undone.
    Ours,
    /// What the other side did stays, and what this session staged there is dropped: of an array (or a deleted group)
    /// in conflict everything; of a prefix that this session deleted and the other side changed, the deletion and
    /// everything set below it since; of a move in conflict at either end, the whole move.
    Theirs,
}

/// Something that both sides changed. Prints as its kind and name; a key as its name alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// What it is.
    pub kind: ConflictKind,
    /// The key; the path of the node, `/` being the root; the name of the container or file.
    pub name: String,
    /// What the two did, or how to keep apart: for people. `None` when the name says it all.
    pub why: Option<String>,
}

/// What two writers can disagree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ConflictKind {
    /// A key, changed to different values.
    Key,
    /// A Zarr array: one changed how its chunks are read (or created or deleted it), the other its chunks.
    Array,
    /// A Zarr group: one deleted it, the other set something below it.
    Group,
    /// A container, defined differently, or by one while the other used it.
    Container,
    /// An external file, pinned to different states.
    File,
}

impl ConflictKind {
    /// The word for it in output: `key`, `array`, `group`, `container`, `file`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Array => "array",
            Self::Group => "group",
            Self::Container => "container",
            Self::File => "file",
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ConflictKind::Key => f.write_str(&self.name),
            kind => write!(f, "{} {}", kind.word(), self.name),
        }
    }
}
