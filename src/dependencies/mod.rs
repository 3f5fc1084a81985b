//! The external files that snapshots depend on, as wholes: containers that name them, archives that moved, and copies of their bytes.

mod containers;
mod relocate;
mod rename;
mod suggest;
mod vendor;

pub use containers::ContainerUse;
pub use relocate::{RelocateOptions, Relocated, RelocatedFile};
pub use rename::FilesRenamed;
pub use suggest::ContainerSuggestion;
pub use vendor::{VendorOptions, VendorSummary, Vendored};
