//! Progress: on a terminal, and nowhere else.

use std::process::Command;

use crate::skipping::skip;
use crate::support::{Sandbox, noise};

/// What a terminal is shown by `firn ARGS`; `None` when there is no `script` to make one.
fn on_a_terminal(sandbox: &Sandbox, args: &[&str]) -> Option<String> {
    let line = [&[env!("CARGO_BIN_EXE_firn")], args].concat().join(" ");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(sandbox.path("repo")).env_remove("FIRN_REPO").env("TERM", "xterm");
    let out = command.output().ok()?;
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stdout));
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn a_terminal_is_shown_how_far_it_has_come() {
    let sandbox = Sandbox::new();
    for file in 0..50_u16 {
        sandbox.write(&format!("in/{file}"), noise(file.into(), 20_000));
    }
    let (input, out, car) = (sandbox.text("in"), sandbox.text("out"), sandbox.text("a.car"));
    let verbs: [&[&str]; 5] = [
        &["import", &input],
        &["verify"],
        &["checkout", "main", &out],
        &["car", "export", "main", &car],
        &["car", "import", &car, "--tag", "t"],
    ];
    for args in verbs {
        let Some(shown) = on_a_terminal(&sandbox, args) else {
            skip("a_terminal_is_shown_how_far_it_has_come", "there is no program `script` to make a terminal");
            return;
        };
        assert!(shown.contains(" done") && shown.contains("\u{1b}["), "{args:?}: {shown:?}");
    }
    let dir = sandbox.text("out2");
    for quiet in ["-q", "--json"] {
        let shown = on_a_terminal(&sandbox, &["verify", quiet]).unwrap();
        assert!(!shown.contains('\u{1b}') && !shown.contains("read "), "{shown:?}");
    }
    let run = sandbox.firn(&["checkout", "main", &dir]);
    assert_eq!((run.err.as_str(), run.status), ("", 0), "no terminal, no progress");
    sandbox.firn(&["verify", "-q", "-v"]).fails(2);
}
