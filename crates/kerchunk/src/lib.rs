#![doc = include_str!("../README.md")]

mod error;
mod import;
mod location;
mod template;

pub use import::{KerchunkImport, KerchunkSummary, import_references};
