//! Values in files of web servers and object stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::support::{Run, Sandbox};
use crate::web::{Reply, Request, Server, Shown};

const CONTENT: &str = "0123456789abcdefghij";

/// Points `air` at four bytes of a file on `server`, and says what is allowed.
fn point(sandbox: &Sandbox, url: &str, allow: &str) {
    let line = json!({ "op": "virtual", "key": "air", "url": url, "offset": 4, "length": 4 }).to_string();
    sandbox.firn_with(&["apply", "--allow", allow], line).ok();
}

fn honest(request: &Request) -> Reply {
    Shown::new(CONTENT).answer(request)
}

#[test]
fn bytes_of_a_web_server_are_read_where_they_lie_and_only_where_allowed() {
    let sandbox = Sandbox::new();
    let server = Server::start(honest);
    let (url, allow) = (server.url("/data/year=2025/air.nc"), format!("{}=private", server.url("/data/year=2025/")));
    point(&sandbox, &url, &allow);
    assert_eq!(sandbox.firn(&["cat", "main", "air", "--allow", &allow]).ok(), "4567");
    let row = sandbox.firn(&["deps", "check", "--allow", &allow, "--json"]).document();
    assert_eq!((&row["state"], &row["size"], &row["etag"]), (&json!("ok"), &json!(20), &json!("one")), "{row}");
    server.take();
    let err = sandbox.firn(&["cat", "main", "air"]).fails(5);
    assert!(err.contains("which is not allowed; add --allow http://127.0.0.1"), "{err}");
    let err = sandbox.firn(&["cat", "main", "air", "--allow", &server.url("/data/year=2025/")]).fails(5);
    assert!(err.contains("an address of this machine") && err.contains("=private"), "{err}");
    sandbox.firn(&["cat", "main", "air", "--allow", &format!("{}=private+at:http://x", server.url("/data/"))]).fails(9);
    assert!(server.take().is_empty());
}

/// Runs `cat` with secrets in the environment.
fn cat(sandbox: &Sandbox, allow: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = sandbox.command("repo");
    command.args(["cat", "main", "air"]).envs(variables.iter().copied());
    for place in allow {
        command.args(["--allow", place]);
    }
    Run::of(command.output().unwrap())
}

#[test]
fn a_token_goes_to_the_place_it_was_given_for_and_not_where_that_sends() {
    let sandbox = Sandbox::new();
    let other = Server::start(honest);
    let to = other.url("/data/air.nc");
    let server = Server::start(move |_| Reply::Answer(302, vec![("location", to.clone())], Vec::new()));
    let url = server.url("/data/air.nc");
    point(&sandbox, &url, "https://example.org/");
    let token = [("FIRN_HTTP_TOKEN", "hunter2")];
    let (here, there) = (format!("{}=env+private+unpinned", server.url("/data/")), format!("{}=private", other.url("/data/")));
    let err = cat(&sandbox, &[&here], &token).fails(5);
    assert!(err.contains("is sent on to") && !err.contains("hunter2"), "{err}");
    assert!(other.take().is_empty());
    assert_eq!(cat(&sandbox, &[&here, &there], &token).ok(), "4567");
    assert!(server.take().iter().all(|asked| asked.header("authorization") == Some("Bearer hunter2")));
    assert!(other.take().iter().all(|asked| asked.header("authorization").is_none()));
    let err = cat(&sandbox, &[&here, &there], &[]).fails(5);
    assert!(err.contains("FIRN_HTTP_TOKEN"), "{err}");
}

#[cfg(feature = "aws")]
#[test]
fn keys_sign_requests_to_the_server_the_reader_names() {
    let sandbox = Sandbox::new();
    let server = Server::start(honest);
    point(&sandbox, "s3://bucket/data/air.nc", "https://example.org/");
    let endpoint = server.url("");
    let keys = [("AWS_ACCESS_KEY_ID", "somebody"), ("AWS_SECRET_ACCESS_KEY", "hunter2"), ("AWS_ENDPOINT_URL", endpoint.as_str())];
    assert_eq!(cat(&sandbox, &["s3://bucket/data/=env+private+unpinned"], &keys).ok(), "4567");
    let asked = server.take();
    assert!(asked.iter().all(|asked| asked.header("authorization").unwrap().contains("Credential=somebody/")), "{asked:?}");
    assert_eq!(cat(&sandbox, &["s3://bucket/data/=private+unpinned"], &keys).ok(), "4567");
    assert!(server.take().iter().all(|asked| asked.header("authorization").is_none()));
    let err = cat(&sandbox, &["s3://bucket/data/=env+private+unpinned"], &keys[2..]).fails(5);
    assert!(err.contains("AWS_ACCESS_KEY_ID"), "{err}");
}

/// The notice said that the place was not allowed when it was, and advised to allow it again and again.
#[test]
fn the_notice_about_files_without_a_pin_says_what_a_reader_would_be_told() {
    let sandbox = Sandbox::new();
    let other = Server::start(honest);
    let to = other.url("/else/air.nc");
    let server = Server::start(move |asked| match asked.target.as_str() {
        "/401/air.nc" if asked.header("authorization") != Some("Bearer hunter2") => Reply::status(401),
        "/302/air.nc" => Reply::Answer(302, vec![("location", to.clone())], Vec::new()),
        "/bare/air.nc" => Reply::Answer(200, Vec::new(), CONTENT.into()),
        _ => honest(asked),
    });
    let token = std::cell::Cell::new("outdated");
    let apply = |directory: &str, allow: &str, options: &[&str]| {
        let place = server.url(&format!("/{directory}/"));
        let line = json!({ "op": "virtual", "key": directory, "url": format!("{place}air.nc"), "offset": 4, "length": 4 }).to_string();
        let mut command = sandbox.command("repo");
        command.args(["apply", "--allow", &format!("{place}{allow}")]).args(options).env("FIRN_HTTP_TOKEN", token.get());
        let run = sandbox.run_with(command, line);
        assert_eq!(run.status, 0, "{}", run.err);
        (place, run.err)
    };
    let (place, said) = apply("401", "=private", &[]);
    assert!(said.contains("is denied by its server, which was given no credentials") && !said.contains("not allowed"), "{said}");
    let advised = format!("{place}=env+private");
    assert!(said.contains(&format!("pin it with --allow {advised}, or read it with --allow {advised}+unpinned")), "{said}");
    // Other credentials are all that can help.
    let (_, said) = apply("401", "=env+private", &[]);
    assert!(said.contains("which was given the credentials of the environment") && !said.contains("--allow"), "{said}");
    assert!(said.contains(&format!("firn deps repin {place}")), "{said}");
    token.set("hunter2");
    assert_eq!(apply("401", "=env+private", &[]).1, "");

    let (place, said) = apply("302", "=private", &[]);
    let elsewhere = other.url("/else/");
    assert!(said.contains("is sent on to"), "{said}");
    assert!(
        said.contains(&format!("pin it with --allow {elsewhere}, or read it with --allow {elsewhere} and --allow {place}=unpinned")),
        "{said}"
    );

    let (place, said) = apply("plain", "", &[]);
    assert!(said.contains("an address of this machine") && !said.contains("its place is not allowed"), "{said}");
    assert!(said.contains(&format!("pin it with --allow {place}=private, or read it with --allow {place}=private+unpinned")), "{said}");

    let (place, said) = apply("bare", "=private", &[]);
    assert!(said.contains("its source tells too little") && !said.contains("pin it with"), "{said}");
    assert!(said.contains(&format!("; read it with --allow {place}=unpinned")), "{said}");
    // What is advised works.
    let allow = [&format!("{place}=private"), &format!("{place}=unpinned")];
    assert_eq!(sandbox.firn(&["cat", "main", "bare", "--allow", allow[0], "--allow", allow[1]]).ok(), "4567");

    let (place, said) = apply("json", "", &["--json"]);
    let row = said.lines().find(|line| line.contains("unpinned")).unwrap();
    let row: serde_json::Value = serde_json::from_str(row).unwrap();
    assert_eq!(row["unpinned"]["allow"], format!("{place}=private"), "{row}");
}

/// Starts a copy of values from a server that stops answering, and kills it when it has saved something.
fn killed_copy(sandbox: &Sandbox, args: &[&str], is_silent: &AtomicBool) {
    let mut child = sandbox.command("repo").args(args).spawn().unwrap();
    let branches = sandbox.path("repo/refs/branches");
    let has_saved = || std::fs::read_dir(&branches).unwrap().flatten().any(|e| e.file_name().to_string_lossy().starts_with("vendoring-"));
    let started = std::time::Instant::now();
    while !(has_saved() && is_silent.load(Ordering::SeqCst)) {
        assert!(child.try_wait().unwrap().is_none(), "it cannot end while its source is silent");
        assert!(started.elapsed() < std::time::Duration::from_mins(2), "it saves something before long");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_copy_that_was_killed_goes_on_where_it_was_and_ends_as_one_that_was_not() {
    const COUNT: usize = 60;
    const LENGTH: usize = 100_000;
    let sandbox = Sandbox::new();
    let content: Arc<Vec<u8>> = Arc::new(crate::support::noise(5, COUNT * LENGTH));
    let (sent, limit, is_silent) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(AtomicBool::new(false)));
    let server = {
        let (content, sent, limit, is_silent) = (Arc::clone(&content), Arc::clone(&sent), Arc::clone(&limit), Arc::clone(&is_silent));
        Server::start(move |request| {
            let length = request.range().map_or(0, |range| range.len());
            if sent.load(Ordering::SeqCst) + length > limit.load(Ordering::SeqCst) {
                is_silent.store(true, Ordering::SeqCst);
                return Reply::Silence;
            }
            sent.fetch_add(length, Ordering::SeqCst);
            Shown::new(content.to_vec()).answer(request)
        })
    };
    let (url, allow) = (server.url("/data/air.nc"), format!("{}=private", server.url("/data/")));
    // In the file the values lie in another order than their keys, so that no request joins many of them.
    let line = |n: usize| {
        let offset = (n * 7 % COUNT) * LENGTH;
        json!({ "op": "virtual", "key": format!("t/{n}"), "url": url, "offset": offset, "length": LENGTH }).to_string()
    };
    let lines: Vec<_> = (0..COUNT).map(line).collect();
    sandbox.firn_with(&["apply", "--allow", &allow], lines.join("\n")).ok();
    let copy = std::process::Command::new("cp").arg("-r").args([sandbox.path("repo"), sandbox.path("other")]).status().unwrap();
    assert!(copy.success());
    let args = ["deps", "vendor", "--allow", &allow, "--save-every", "400000", "-v"];

    let whole = sandbox.firn(&[&args[..], &["-R", &sandbox.text("other")]].concat());
    assert!(whole.err.contains("60 values with 6000000 bytes copied; 6000000 bytes read"), "{}", whole.err);
    whole.ok();
    let all = sent.swap(0, Ordering::SeqCst);
    assert!(all >= COUNT * LENGTH);

    limit.store(COUNT * LENGTH / 2, Ordering::SeqCst);
    killed_copy(&sandbox, &args, &is_silent);
    let shown = |repository: &str| sandbox.firn(&["show", "--json", "-R", &sandbox.text(repository)]).document();
    assert_eq!(sandbox.firn(&["log", "--json"]).rows().len(), 2, "nothing is committed to the branch");
    limit.store(usize::MAX, Ordering::SeqCst);
    sent.store(0, Ordering::SeqCst);
    let again = sandbox.firn(&args);
    assert!(again.err.contains("60 values with 6000000 bytes copied, ") && again.err.contains("by an earlier run"), "{}", again.err);
    again.ok();
    assert!(sent.load(Ordering::SeqCst) < all, "what was saved is not read again");
    assert_eq!(shown("repo")["manifest"], shown("other")["manifest"]);
    assert_eq!(shown("repo")["files"]["files"], json!(0));
    assert_eq!(sandbox.firn(&["branch", "--json"]).rows().len(), 1, "the saves are deleted");
    assert!(sandbox.firn(&["cat", "main", "t/1"]).out == content[7 * LENGTH..8 * LENGTH]);
    sandbox.firn(&["verify"]).ok();
}

/// What a copy tells was once all that a reader of a moved archive could go by; now the new place is what is pinned.
#[test]
fn an_archive_that_moved_to_a_server_is_pinned_by_what_the_server_tells() {
    let sandbox = Sandbox::new();
    sandbox.write("data/air.nc", CONTENT);
    let old = format!("file://{}/", sandbox.text("data"));
    let server = Server::start(honest);
    let (new, allow) = (server.url("/sets/"), format!("{}=private", server.url("/sets/")));
    point(&sandbox, &format!("{old}air.nc"), &old);
    assert!(sandbox.refused(5, || sandbox.firn(&["deps", "move", &old, &new])).contains("; add --allow http://127.0.0.1"));
    assert!(server.take().is_empty());
    sandbox.firn(&["deps", "move", &old, &new, "--allow", &allow]).ok();
    assert_eq!(sandbox.firn(&["cat", "main", "air", "--allow", &allow]).ok(), "4567");
    let row = sandbox.firn(&["deps", "--json"]).document();
    let expected = (json!(server.url("/sets/air.nc")), json!("one"), json!("2024-06-01T00:00:00.000000Z"), json!(20));
    assert_eq!((row["url"].clone(), row["etag"].clone(), row["modified"].clone(), row["size"].clone()), expected, "{row}");
    assert_eq!(sandbox.firn(&["cat", "main~1", "air", "--allow", &old]).ok(), "4567", "the older version names the older place");
}
