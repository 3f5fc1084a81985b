//! What the tests of every area share.

pub(crate) mod alloc;

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Says that `test` did not run, and why; also in the file that `FIRN_SKIP_LOG` names, so that CI can count.
pub(crate) fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}");
    eprintln!("{line}");
    if let Some(log) = std::env::var_os("FIRN_SKIP_LOG") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
        writeln!(file.unwrap(), "{line}").unwrap();
    }
}

/// Where fixtures of others lie that are not part of the project, if they are here.
pub(crate) fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    path.is_dir().then_some(path)
}
