#![doc = include_str!("../README.md")]

mod error;
mod export;
mod import;
mod location;
mod masked;
mod template;
mod zarr_v2;

pub use export::{ExportOptions, ExportSummary, V3Metadata, export_json, export_parquet};
pub use import::{KerchunkImport, KerchunkSummary, import_references};
