//! External files: which a version, or a whole line of versions, depends on; who depends on a file; whether files are as recorded.
//!
//! All of it but two answers comes from the virtual-file manifests and reads no leaf of a manifest: counts by array and the keys that
//! point into a file take one scan of the leaves.

mod changes;
mod check;
mod checksums;
mod containers;
mod history;
mod lines;
mod lock;
mod place;
mod relocate;
mod rename;
mod suggest;
mod totals;
mod users;
mod vendor;

pub use changes::DependencyChange;
pub use check::{CheckOptions, CheckedDependency, Sample};
pub use checksums::{ChecksumEntry, ChecksumList, NoChecksum};
pub use history::{DependencyHistory, HistoryOfDependencies};
pub use lock::{LockOptions, Locked, LockedFile};
pub use relocate::{RelocateOptions, Relocated, RelocatedFile};
pub use rename::FilesRenamed;
pub use suggest::ContainerSuggestion;
pub use totals::{ArrayDependencies, DependencyCounts};
pub use users::{KeyUse, PlaceUse, RefUse, VersionUse};
pub use vendor::{VendorOptions, VendorSummary, Vendored};
