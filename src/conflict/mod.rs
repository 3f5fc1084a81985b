//! Conflicts between two writers of one branch, or between a branch and what is applied to it: detecting them, settling them by
//! policies, and applying staged changes to a new tip.

mod detect;
mod left;
mod merge;
mod nodes;
mod policies;
mod rebase;
mod settle;

use std::fmt;

pub(crate) use detect::Conflicts;
pub(crate) use policies::Policies;
pub(crate) use rebase::{Rebased, rebase};

/// What a commit does about keys and arrays that another writer changed as well.
///
/// Conflicts are settled key by key, with two exceptions. If one side changed how the chunks of an array are read, the whole array is
/// settled one way; if this session deleted a prefix, everything below it is. A mix of both sides would be a state that neither writer
/// intended. Two definitions of one container and two states of one external file are refused under every policy, because references of
/// both sides depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnConflict {
    /// The commit fails, and says what both sides changed.
    #[default]
    Refuse,
    /// The staged changes replace the other side's. If an array or a deleted group is in conflict, everything below it ends as this
    /// session sees it, and the other side's changes there are undone.
    Ours,
    /// The other side's changes stay, and the staged changes in conflict are dropped. For an array or a deleted group in conflict,
    /// everything staged below it is dropped; for a prefix that this session deleted and the other side changed, the deletion and
    /// everything set below it since; for a move in conflict at either end, the whole move.
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
    /// What each side did, or how to avoid the conflict, in words. `None` when kind and name are enough.
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
    /// An external file: pinned to different states, or pinned by one side while the other let its references point into another file.
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
