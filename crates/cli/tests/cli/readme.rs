//! The session that the README shows, run by a shell in an empty directory.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The commands in the README's only `console` block.
fn commands() -> Vec<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let (_, rest) = page.split_once("```console\n").expect("the README shows a session");
    let (session, _) = rest.split_once("```").unwrap();
    session.lines().map(|line| line.strip_prefix("$ ").expect("every line is a command").to_owned()).collect()
}

/// A new user copies these lines. They once named files that did not exist and a time before the repository was made.
#[test]
fn the_session_of_the_readme_runs_in_an_empty_directory() {
    let directory = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_firn")).parent().unwrap();
    let path = std::env::join_paths([program.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    // `diff` says by its status that there is a difference; everything else succeeds.
    let script: String = commands
        .iter()
        .map(|line| if line.starts_with("firn diff") { format!("{{ {line}\n}} && exit 9 || test $? = 1\n") } else { format!("{line}\n") })
        .collect();
    let ran = Command::new("bash")
        .args(["-euc", &script])
        .current_dir(directory.path())
        .env_remove("FIRN_REPO")
        .env_remove("FIRN_ALLOW")
        .env("PATH", path.unwrap())
        .env("XDG_CACHE_HOME", directory.path().join("cache"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(ran.status.success(), "{}\n{}\n{}", ran.status, text(&ran.stdout), text(&ran.stderr));
    let then = fs::read_to_string(directory.path().join("january/air/zarr.json")).unwrap();
    assert!(then.starts_with(r#"{"zarr_format":3"#), "{then}");
    assert!(!directory.path().join("january/air/c").exists(), "the version before the last holds no chunk");
}
