//! What the tests of every crate share; included with `#[path]`.

#![allow(dead_code, reason = "each test binary uses a part of it")]

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

/// How many cases a random test tries: the number that `variable` holds, else `whole` if `FIRN_TEST_SIZE` is `whole`, else
/// `quick`. The quick count is for every day, the whole one for what is released; both try the same kinds of cases.
///
/// Panics on other values, so that a misspelt one does not pass for a count.
pub(crate) fn count(variable: &str, quick: u64, whole: u64) -> u64 {
    if let Ok(number) = std::env::var(variable) {
        return number.parse().unwrap_or_else(|e| panic!("{variable}={number}: {e}"));
    }
    match std::env::var("FIRN_TEST_SIZE").as_deref() {
        Ok("whole") => whole,
        Ok("quick") | Err(std::env::VarError::NotPresent) => quick,
        other => panic!("FIRN_TEST_SIZE is quick or whole, not {other:?}"),
    }
}
