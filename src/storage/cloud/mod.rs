//! Object stores: S3 and compatible stores, Google Cloud Storage, Azure Blob; and, read-only, any web server.
//!
//! - An *object* is one PUT, or a multipart upload that becomes visible with its last request. An answered put is durable,
//!   so a [`barrier`](Storage::barrier) has nothing to do.
//! - A *register* is always one single PUT with a condition (`If-None-Match: *`, `If-Match` or a generation), sent exactly
//!   once: this layer never repeats it. The caller reads back what became of one without an answer.
//! - The first write through a handle finds out whether the store honours conditions, and in which form, at a scratch name
//!   of its own ([`conditions`]). A store that ignores them is refused for writing and can be read.
//! - No suffix ranges, and no range past the end on purpose: lengths are known. Every answer is checked against its length.
//!
//! Nothing waits for ever: requests without progress are given up, what may be sent twice is sent again with growing
//! pauses until a deadline ([`CloudOptions`]).

#[cfg(feature = "remote")]
pub(in crate::storage) mod answers;
#[cfg(feature = "remote")]
pub(crate) mod client;
#[cfg(feature = "remote")]
mod conditions;
#[cfg(feature = "remote")]
mod examine;
#[cfg(feature = "remote")]
mod objects;
mod options;
pub(crate) mod place;
#[cfg(feature = "remote")]
mod providers;
#[cfg(feature = "remote")]
mod registers;
#[cfg(feature = "remote")]
mod sources;
#[cfg(feature = "remote")]
mod store;
#[cfg(feature = "remote")]
pub(in crate::storage) mod trouble;

pub use options::{CloudOptions, Credentials, Variables};
#[cfg(feature = "remote")]
pub use store::Cloud;
