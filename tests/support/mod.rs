//! What tests outside the crate share; included with `#[path]`.

use std::io::Write as _;

/// Says on stderr, and in the file that `FIRN_SKIP_LOG` names, that `test` did not run and why.
pub(crate) fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("FIRN_SKIP_LOG") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("FIRN_SKIP_LOG can be appended to");
        writeln!(file, "{line}").expect("FIRN_SKIP_LOG can be written");
    }
}
