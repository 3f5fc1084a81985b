//! What a transaction means, through the public interface.

#![cfg(test)]

mod comparing;
mod copies;
mod progress;
mod refs;
mod sessions;
mod support;
mod virtuals;
mod walk;
