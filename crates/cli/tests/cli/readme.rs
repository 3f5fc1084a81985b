//! The sessions that the README shows, run by a shell.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::netcdf::netcdf;

/// The commands in the `console` block below a heading of the README.
fn commands(heading: &str) -> Vec<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("the README has no {heading:?}"));
    let (_, rest) = rest.split_once("```console\n").expect("it shows a session");
    let (session, _) = rest.split_once("```").unwrap();
    session.lines().map(|line| line.strip_prefix("$ ").expect("every line is a command").to_owned()).collect()
}

/// Runs a session in a directory. `diff` says by its status that there is a difference, and `who-uses` that a file is needed;
/// everything else succeeds.
fn run(heading: &str, directory: &Path) {
    let program = Path::new(env!("CARGO_BIN_EXE_firn")).parent().unwrap();
    let path = std::env::join_paths([program.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let commands = commands(heading);
    assert!(commands.len() >= 10, "{commands:?}");
    let answers = |line: &str| ["firn diff", "firn deps who-uses"].iter().any(|verb| line.starts_with(verb));
    let script: String = commands
        .iter()
        .map(|line| if answers(line) { format!("{{ {line}\n}} && exit 9 || test $? = 1\n") } else { format!("{line}\n") })
        .collect();
    let ran = Command::new("bash")
        .args(["-euc", &script])
        .current_dir(directory)
        .env_remove("FIRN_REPO")
        .env_remove("FIRN_ALLOW")
        .env_remove("FIRN_REBIND")
        .env("FIRN_CONFIG", "")
        .env("PATH", path.unwrap())
        .env("XDG_CACHE_HOME", directory.join("cache"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(ran.status.success(), "{}\n{}\n{}", ran.status, text(&ran.stdout), text(&ran.stderr));
}

/// A new user copies these lines. They once named files that did not exist and a time before the repository was made.
#[test]
fn the_session_of_the_readme_runs_in_an_empty_directory() {
    let directory = tempfile::tempdir().unwrap();
    run("The four jobs, on the command line", directory.path());
    let then = fs::read_to_string(directory.path().join("january/air/zarr.json")).unwrap();
    assert!(then.starts_with(r#"{"zarr_format":3"#), "{then}");
    assert!(!directory.path().join("january/air/c").exists(), "the version before the last holds no chunk");
}

#[test]
fn the_session_on_virtual_data_runs_beside_three_files() {
    let directory = tempfile::tempdir().unwrap();
    for (name, start, records) in [("air-2025-01.nc", 0, 31), ("air-2025-02.nc", 31, 28), ("air-2025-03.nc", 59, 31)] {
        fs::write(directory.path().join(name), netcdf(start, records)).unwrap();
    }
    run("Virtual data, on the command line", directory.path());
    let set: serde_json::Value = serde_json::from_slice(&fs::read(directory.path().join("air.json")).unwrap()).unwrap();
    let last = &set["refs"]["v/89.0"];
    assert!(last[0].as_str().unwrap().ends_with("/air-2025-03.nc") && last[2] == 1200, "{last}");
}

#[test]
fn the_session_on_undoing_leaves_no_garbage_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    run("Nothing is lost, nothing is kept for ever", directory.path());
    let firn = |args: &[&str]| {
        let ran =
            Command::new(env!("CARGO_BIN_EXE_firn")).args(["-R", "archive"]).args(args).current_dir(directory.path()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let sea: Vec<u32> = firn(&["cat", "main", "sea/c/0"]).lines().map(|line| line.parse().unwrap()).collect();
    assert!(sea.into_iter().eq(1..=60_000));
    assert!(firn(&["cat", "main", "air/c/0"]).ends_with("\n50001\n"), "the correction was merged");
    let plan: serde_json::Value = serde_json::from_str(&firn(&["gc", "--dry-run", "--grace", "0", "--json"])).unwrap();
    assert!(plan["kinds"].as_object().unwrap().values().all(|kind| kind["garbage"]["objects"] == 0), "{plan}");
}

/// What is promised is one sentence, wherever it stands.
#[test]
fn the_promise_is_the_same_wherever_it_stands() {
    let promise = "If `commit` returned Ok, every block reachable from it is durable and verified; if it returned an error other than \
                   `OutcomeUnknown`, no reader can ever observe it; any reader of any version sees only bytes that hash to that version's \
                   id; killing any process at any point needs no repair.";
    for page in ["README.md", "docs/concurrency.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page)).unwrap();
        assert!(text.split_whitespace().collect::<Vec<_>>().join(" ").contains(promise), "{page} promises something else");
    }
}
