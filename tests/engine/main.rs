//! What a transaction means, through the public interface.

mod refs;
mod sessions;
mod support;
mod virtuals;
mod walk;
