#![doc = include_str!("../README.md")]

mod error;
mod location;

pub use location::ReferenceBase;
