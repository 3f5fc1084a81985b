//! Whole versions as CAR files: the same version is written as the same bytes everywhere, and everything that is read is verified.
//!
//! The root is the commit. From there blocks follow depth first, each where it is first linked, links in the order of their block: the
//! nodes of the virtual-file manifest, then the manifest with its chunks. History and parents are not followed, so a file holds one
//! complete version. Virtual values stay references in the maps and have no blocks.

mod ahead;
mod distinct;
mod export;
mod import;
mod trees;
mod walk;

#[cfg(test)]
mod tests;

pub use export::{CarPlan, CarSummary};
pub use import::{ImportOptions, ImportTarget, Imported};
