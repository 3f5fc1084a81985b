//! The verbs of a whole repository: creating it, opening it, and its branches and tags.

mod create;
mod open;
mod refs;

pub(crate) use refs::MoveTarget;
pub use refs::{ReadableMoves, RefInfo, TagOptions};
