//! Writing reference sets of what a snapshot holds.
//!
//! The manifest is read once, in its order, and every entry becomes one reference: memory does not depend on how many there are.

mod json;
mod node;
mod options;
mod parquet_set;
mod place;
mod record;
#[cfg(test)]
mod round_trip;
mod staging;
#[cfg(test)]
mod tests;
mod walk;

pub use self::json::export_json;
pub use self::options::{ExportOptions, ExportSummary, V3Metadata};
pub use self::parquet_set::export_parquet;
