//! Time: which snapshot a revision means, what a reader of a ref saw at a moment, what came before a commit.

mod ancestry;
mod as_of;
mod log;
mod resolve;
mod revision;

pub(crate) use ancestry::{Line, history_entry, history_key};
pub use as_of::AsOf;
pub use log::LogEntry;
pub use resolve::Resolved;
pub use revision::Revision;
