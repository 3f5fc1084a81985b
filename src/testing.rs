//! What tests of every area share.

use std::io::Write as _;
use std::path::PathBuf;

/// Says that `test` was skipped and why, on stderr and, if `FIRN_SKIP_LOG` names a file, as a line there, so that a
/// run can be held to having skipped nothing.
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    if let Some(log) = std::env::var_os("FIRN_SKIP_LOG") {
        let mut file = std::fs::File::options().create(true).append(true).open(log).expect("FIRN_SKIP_LOG can be written");
        writeln!(file, "SKIPPED {test}: {why}").expect("FIRN_SKIP_LOG can be written");
    }
}

/// The directory of fixtures and independent tools beside the crate, where there is one.
pub(crate) fn shared() -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    path.is_dir().then_some(path)
}
