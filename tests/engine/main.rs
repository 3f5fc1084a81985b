//! What a transaction means, through the public interface.

#![cfg(test)]

mod conflicts;
mod refs;
mod sessions;
mod support;
mod virtuals;
mod walk;
