//! Time: the snapshot that a revision means, what a ref showed at a moment, the ancestors of a commit and those that two commits have in
//! common, the differences between two commits, and the history of a key.

mod ancestry;
mod as_of;
mod behind;
mod blame;
mod claims;
mod common;
mod diff;
mod kept;
mod key_history;
mod log;
mod marks;
mod readable;
mod recorded;
mod resolve;
mod revision;
mod totals;

pub(crate) use ancestry::Line;
pub use as_of::AsOf;
pub(crate) use behind::Behind;
pub use blame::Blamed;
pub(crate) use claims::{Followed, check_claims, follows, require_earlier, require_places};
pub use diff::Change;
pub(crate) use diff::{comparable, container_changes, is_other_state, map_changes};
pub(crate) use kept::{Kept, KeptPart, KeptRoots};
pub use key_history::{KeyEvent, KeyVersion};
pub use log::LogEntry;
pub(crate) use marks::{ListedMarks, PastMark};
pub use readable::{FoundIn, ReadableSnapshot};
pub use resolve::Resolved;
pub use revision::Revision;
pub use totals::Totals;
