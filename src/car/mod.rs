//! Whole versions as CAR files: written so that the same version gives the same bytes everywhere, and read so that
//! nothing is believed.
//!
//! The root is the commit. From there blocks follow depth first, each where it is first linked, links in the order of
//! their block: the nodes of the virtual-file manifest, then the manifest with its chunks. History and parents are not links, so a
//! file holds one version, whole. Virtual data stays what it is: entries and records in the tree, and no blocks.

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
