//! What the tests of every area share.

pub(crate) mod alloc;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

pub(crate) use support::skip;

/// Where fixtures of others lie that are not part of the project, if they are here.
pub(crate) fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    path.is_dir().then_some(path)
}
