//! `firn gc`.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::support::{Run, Sandbox, noise, tree};

/// A commit that was interrupted leaves chunks; here one is made by hand, from a repository that has it.
fn leave_a_chunk(sandbox: &Sandbox) -> std::path::PathBuf {
    let other = Sandbox::new();
    let big = other.write("big", noise(9, 5000));
    other.firn(&["put", big.to_str().unwrap(), "big"]).ok();
    let chunks = other.path("repo/chunks");
    let (name, bytes) = tree(&chunks).into_iter().next().unwrap();
    let place = sandbox.path("repo/chunks").join(name);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, bytes).unwrap();
    place
}

#[test]
fn garbage_is_shown_and_then_removed() {
    let sandbox = Sandbox::new();
    let big = sandbox.write("big", noise(3, 5000));
    sandbox.firn(&["put", big.to_str().unwrap(), "big"]).ok();
    sandbox.firn(&["rm", "big"]).ok();
    let garbage = leave_a_chunk(&sandbox);

    // It is younger than a day.
    let text = sandbox.firn(&["gc"]).ok();
    assert!(text.contains("chunks: 0 of 2 objects, 0 bytes, removed"), "{text}");
    assert!(text.contains("left, because it is young: 1 object, 5000 bytes"), "{text}");
    assert!(garbage.exists());

    let text = sandbox.firn(&["gc", "--grace", "0", "--dry-run"]).ok();
    assert!(text.contains("chunks: 1 of 2 objects, 5000 bytes, would be removed"), "{text}");
    assert!(garbage.exists());

    let document = sandbox.firn(&["gc", "--grace", "0", "--json"]).document();
    assert_eq!((&document["epoch"], &document["failed"], &document["resumed"]), (&json!(1), &json!(0), &json!(false)));
    assert_eq!(document["kinds"]["chunks"]["removed"], json!({ "objects": 1, "bytes": 5000 }));
    assert!(!garbage.exists());
    assert_eq!(sandbox.firn(&["gc", "--grace", "0", "--json"]).document()["epoch"], json!(0), "nothing is left");

    // What was deleted in the last version is kept by the one before.
    sandbox.firn(&["verify", "--all"]).ok();
    assert_eq!(sandbox.firn(&["cat", "main~1", "big"]).out, noise(3, 5000));
    sandbox.put("k", "after");
    sandbox.firn(&["branch", "other"]).ok();
    sandbox.firn(&["gc", "--grace", "soon"]).fails(2);
}

#[test]
fn nothing_is_collected_while_a_branch_is_damaged() {
    let sandbox = Sandbox::new();
    sandbox.put("k", "1");
    sandbox.firn(&["branch", "other"]).ok();
    let garbage = leave_a_chunk(&sandbox);
    sandbox.write("repo/refs/branches/other.json", "damaged");
    for args in [&["gc", "--grace", "0"][..], &["gc", "--grace", "0", "--dry-run"]] {
        let err = sandbox.firn(args).fails(7);
        assert!(err.contains("branch other") && err.contains("no garbage is collected"), "{err}");
    }
    assert!(garbage.exists());
    sandbox.firn(&["branch", "-d", "other"]).ok();
    sandbox.firn(&["gc", "--grace", "0"]).ok();
    assert!(!garbage.exists());
}

/// An interrupted collection used to end without a word, while writers waited for what it condemned.
#[test]
fn an_interrupted_collection_says_that_the_next_goes_on() {
    for (signal, status, is_json) in [(rustix::process::Signal::INT, 130, false), (rustix::process::Signal::TERM, 143, true)] {
        let sandbox = Sandbox::new();
        sandbox.put("k", "1");
        let garbage = leave_a_chunk(&sandbox);
        let mut command = sandbox.command("repo");
        command.args(["gc", "--grace", "0", "--wait", "10m"]).args(is_json.then_some("--json"));
        let child = command.spawn().unwrap();
        while garbage.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let err = Run::of(child.wait_with_output().unwrap()).fails(status);
        if is_json {
            let told: serde_json::Value = serde_json::from_str(err.lines().last().unwrap()).unwrap();
            assert_eq!(told["error"]["help"], json!(["the next collection goes on with it: firn gc"]));
            assert!(told["error"].get("pending").is_none());
        } else {
            assert!(
                err.contains("unfinished; nothing that is needed was removed\n  the next collection goes on with it: firn gc"),
                "{err}"
            );
        }
        assert_eq!(sandbox.firn(&["gc", "--json"]).document()["resumed"], json!(true));
    }
}

/// A damaged register kept everybody from writing, and no command mended it.
#[test]
fn a_register_of_collections_that_is_damaged_or_lost_is_made_anew() {
    let sandbox = Sandbox::new();
    sandbox.put("k", "1");
    let text = sandbox.firn(&["gc", "--repair"]).ok();
    assert!(text.contains("nothing is wrong with the register of collections; the last one was number 0"), "{text}");
    leave_a_chunk(&sandbox);
    sandbox.firn(&["gc", "--grace", "0"]).ok();
    let state = sandbox.path("repo/gc/state.json");
    for is_lost in [false, true] {
        if is_lost {
            fs::remove_file(&state).unwrap();
        } else {
            fs::write(&state, "\u{1b}damaged").unwrap();
        }
        for args in [&["put", "-", "k", "-m", "2"][..], &["gc"]] {
            let err = sandbox.firn_with(args, "another").fails(7);
            assert!(err.contains("make it anew with: firn gc --repair"), "{err}");
        }
        assert_eq!(sandbox.firn(&["verify", "--all"]).status, 1);
        let text = sandbox.firn(&["gc", "--repair"]).ok();
        assert!(text.contains("gc/state.json") && text.contains("made anew: the next collection is number"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        sandbox.firn(&["verify", "--all"]).ok();
        sandbox.put("k", if is_lost { "3" } else { "2" });
    }
    assert_eq!(sandbox.firn(&["gc", "--repair", "--json"]).document(), json!({ "wrong": null, "epoch": 3 }));
    sandbox.firn(&["gc", "--repair", "--dry-run"]).fails(2);
}
