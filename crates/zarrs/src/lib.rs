#![doc = include_str!("../README.md")]

mod asynchronous;
mod error;
mod range;
mod read;
mod shared;
mod source;
mod synchronous;
mod write;

pub use asynchronous::AsyncFirnlineStore;
pub use error::firnline_error;
pub use shared::StillShared;
pub use source::{StoreSource, StoreTarget};
pub use synchronous::FirnlineStore;
