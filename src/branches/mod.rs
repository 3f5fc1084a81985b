//! Work on branches as a whole: merging versions into them, applying and reverting single commits, making one commit of many, going back
//! and forth by a step, and searching for the commit that broke something.

mod bisect;
mod fast_forward;
mod merge;
mod options;
mod pick;
mod squash;
mod undo;

pub use bisect::{BisectVerdict, Bisection};
pub use merge::StagedMerge;
pub use options::MergeOptions;
pub use squash::Squashed;
pub use undo::{BranchEvent, BranchStep};
