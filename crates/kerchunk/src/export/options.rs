//! How a reference set is written, and what was written.

use std::num::NonZeroU32;

use firnline::Prefix;

/// What becomes of Zarr v3 metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum V3Metadata {
    /// It is converted to Zarr v2, which is what `engine="kerchunk"` of xarray reads. An array that Zarr v2 cannot express is
    /// `Unsupported`, with the reason.
    #[default]
    Convert,
    /// It stays as it is, and so do all keys. For readers that take a reference set for a Zarr v3 store. JSON only.
    Keep,
}

/// How a reference set is written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExportOptions {
    /// Only what lies below, without the prefix itself in the keys. Default: everything.
    pub prefix: Prefix,
    /// A chunk that the repository itself stores has no URL. It is written into the set if it has at most so many bytes, and refused
    /// otherwise. Zarr metadata is always written into the set. Default: 64 KiB, which coordinates seldom exceed.
    pub inline_limit: u64,
    /// What becomes of Zarr v3 metadata. Default: it is converted to Zarr v2.
    pub v3_metadata: V3Metadata,
    /// How many references one Parquet file holds. A reader loads whole files. Default: 100,000, as kerchunk has it.
    pub record_size: NonZeroU32,
}

impl Default for ExportOptions {
    fn default() -> Self {
        const RECORD: NonZeroU32 = NonZeroU32::new(100_000).expect("it is not 0");
        Self { prefix: Prefix::all(), inline_limit: 64 << 10, v3_metadata: V3Metadata::Convert, record_size: RECORD }
    }
}

impl ExportOptions {
    /// Writes only what lies below `prefix`, without the prefix itself in the keys.
    #[must_use]
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Writes stored chunks of at most `bytes` bytes into the set.
    #[must_use]
    pub fn inline_limit(mut self, bytes: u64) -> Self {
        self.inline_limit = bytes;
        self
    }

    /// Says what becomes of Zarr v3 metadata.
    #[must_use]
    pub fn v3_metadata(mut self, v3_metadata: V3Metadata) -> Self {
        self.v3_metadata = v3_metadata;
        self
    }

    /// Puts so many references into one Parquet file.
    #[must_use]
    pub fn record_size(mut self, references: NonZeroU32) -> Self {
        self.record_size = references;
        self
    }
}

/// What an export wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportSummary {
    /// References to byte ranges of external files.
    pub references: u64,
    /// Values that the set itself holds, Zarr metadata among them.
    pub values: u64,
    /// The length of these values together, in bytes.
    pub value_bytes: u64,
    /// How many of these values are stored chunks of the repository.
    pub stored_chunks: u64,
    /// What a reader of the set has to know, each in one line: options that its client needs, arrays that read differently.
    pub notes: Vec<String>,
}
