//! Two writers, one branch: what they changed in common, and moving staged work onto a new tip.

mod detect;
mod rebase;

pub(crate) use detect::Conflicts;
pub(crate) use rebase::rebase;
