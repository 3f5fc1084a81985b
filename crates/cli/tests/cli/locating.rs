//! Which repository is meant.

use crate::support::{Run, Sandbox};

#[test]
fn a_repository_is_named_by_option_then_environment_then_the_nearest_parent() {
    let sandbox = Sandbox::new();
    let here = sandbox.put("here", "1");
    sandbox.mkdir("other");
    let other = sandbox.firn(&["-R", &sandbox.text("other"), "init"]).ok();
    sandbox.mkdir("repo/deep/er");
    sandbox.mkdir("nowhere");

    let tip = |place: &str, env: Option<&str>, args: &[&str]| {
        let mut command = sandbox.command(place);
        command.args(args).args(["log", "-n", "1", "--json"]);
        if let Some(env) = env {
            command.env("FIRN_REPO", env);
        }
        let mut row = Run::of(command.output().unwrap()).document();
        row["id"].take().as_str().unwrap().to_owned()
    };
    let (repo, other_place) = (sandbox.text("repo"), sandbox.text("other"));
    assert_eq!(tip("repo/deep/er", None, &[]), here);
    assert_eq!(tip("repo/deep", Some(""), &[]), here, "an empty variable names nothing");
    assert_eq!(tip("repo", Some(&other_place), &[]), other);
    assert_eq!(tip("nowhere", Some(&other_place), &["-R", &repo]), here);
    assert_eq!(tip("nowhere", None, &["-R", &format!("file://{repo}")]), here);
    assert_eq!(tip("nowhere", None, &["-R", "../repo"]), here);
}

#[test]
fn no_repository_is_not_found_and_two_are_a_conflict() {
    let sandbox = Sandbox::new();
    sandbox.mkdir("nowhere");
    let lost = Run::of(sandbox.command("nowhere").arg("log").output().unwrap()).fails(3);
    assert!(lost.starts_with("firn: not found: ") && lost.contains("firn init"), "{lost}");
    let lost = Run::of(sandbox.command("nowhere").args(["-R", "absent", "log"]).output().unwrap()).fails(3);
    assert!(lost.contains("absent"), "{lost}");
    sandbox.refused(4, || sandbox.firn(&["init"]));
    sandbox.firn(&["-R", "s3:bucket/x", "log"]).fails(9);
    // What a build lacks is told before anything is asked; nobody's credentials are needed to be told of none.
    let mut elsewhere = sandbox.command("repo");
    elsewhere.env_clear().args(["-R", "s3://bucket/x", "log"]);
    Run::of(elsewhere.output().unwrap()).fails(if cfg!(feature = "aws") { 5 } else { 10 });
    sandbox.firn(&["-R", "gopher://x", "log"]).fails(9);
}

#[test]
fn the_command_line_itself_is_checked() {
    let sandbox = Sandbox::new();
    for wrong in [
        &["frobnicate"][..],
        &["init", "--hash", "md5"],
        &["put", "x"],
        &["rm"],
        &["branch", "-d"],
        &["log", "-n", "x"],
        &["branch", "a..b"],
    ] {
        sandbox.firn(wrong).fails(2);
    }
    assert_eq!(sandbox.firn(&["--help"]).status, 0);
    assert!(sandbox.firn(&["--version"]).ok().starts_with("firn "));
    for verb in [
        "init", "import", "apply", "put", "rm", "cat", "ls", "checkout", "log", "show", "branch", "tag", "reset", "moves", "deps", "settle",
    ] {
        assert!(sandbox.firn(&[verb, "--help"]).ok().contains("Usage: firn"), "{verb}");
    }
}

#[test]
fn the_hash_is_chosen_once_and_shown() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.firn(&["show", "--json"]).document()["hash"], "sha2-256");
    sandbox.mkdir("b3");
    let b3 = sandbox.text("b3");
    sandbox.firn(&["-R", &b3, "init", "--hash", "blake3"]).ok();
    assert_eq!(sandbox.firn(&["-R", &b3, "show", "--json"]).document()["hash"], "blake3");
}
