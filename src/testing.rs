//! What the tests of every area share.

pub(crate) mod alloc;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use support::{count, skip};

/// Mutated inputs for each decoder.
pub(crate) fn hostile_cases() -> u64 {
    count("FIRN_HOSTILE_CASES", 20_000, 1_000_000)
}

/// Cases for a property that a whole run tries `whole` times.
pub(crate) fn property_cases(whole: u32) -> u32 {
    let percent = u32::try_from(count("FIRN_PROPERTY_PERCENT", 10, 100)).unwrap();
    (whole * percent).div_ceil(100)
}

/// Where fixtures of others lie that are not part of the project, if they are here.
pub(crate) fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    path.is_dir().then_some(path)
}

/// Where the independent calculator of the format is and which Python runs it.
pub(crate) fn calculator(test: &str) -> Option<(String, PathBuf)> {
    let tools = shared().map(|dir| dir.join("tools")).filter(|dir| dir.join("format_v1.py").is_file());
    let Some(tools) = tools else {
        skip(test, "the calculator of format v1 is not here");
        return None;
    };
    let python = std::env::var("FIRN_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    match Command::new(&python).args(["-c", "import xxhash"]).output() {
        Ok(out) if out.status.success() => Some((python, tools)),
        _ => {
            skip(test, "there is no Python with xxhash; FIRN_TEST_PYTHON may name one");
            None
        }
    }
}
