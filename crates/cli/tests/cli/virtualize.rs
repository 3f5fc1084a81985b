//! NetCDF files as virtual arrays. What becomes of every kind of file is tested in `crates/virtualize`.

use serde_json::{Value, json};

use crate::netcdf::netcdf;
use crate::support::Sandbox;

fn document(sandbox: &Sandbox, key: &str) -> Value {
    serde_json::from_str(&sandbox.firn(&["cat", "main", key]).ok()).unwrap()
}

#[test]
fn months_are_virtualized_and_appended_in_one_line_each() {
    let sandbox = Sandbox::new();
    let [a, b, c] = [("a.nc", 0, 2), ("b.nc", 2, 3), ("c.nc", 5, 1)].map(|(name, start, records)| {
        sandbox.write(&format!("data/{name}"), netcdf(start, records));
        sandbox.text(&format!("data/{name}"))
    });
    let virtualize = |files: &[&str], more: &[&str]| {
        let args = [&["virtualize"], files, &["--prefix", "air", "--concat", "time", "--inline-limit", "100"], more].concat();
        sandbox.firn(&args)
    };
    let before = sandbox.state();
    let dry = virtualize(&[&a], &["--dry-run"]);
    assert!(dry.err.contains("would commit to main: 1 file as 2 arrays: 2 references to 2400 bytes, 1 copied"), "{}", dry.err);
    assert_eq!(sandbox.state(), before);

    virtualize(&[&a, &b], &["-m", "two months"]).ok();
    assert_eq!(document(&sandbox, "air/v/zarr.json")["shape"], json!([5, 300]));
    let told = virtualize(&[&c], &["--append", "-v"]);
    assert!(told.err.contains("1 file as 2 arrays: 1 reference to 1200 bytes, 1 copied"), "{}", told.err);
    told.ok();
    let zarr = document(&sandbox, "air/v/zarr.json");
    assert_eq!((&zarr["shape"], &zarr["dimension_names"]), (&json!([6, 300]), &json!(["time", "x"])));
    assert_eq!(document(&sandbox, "air/zarr.json")["attributes"], json!({"title": "two variables"}));

    // The last record, from the last file; reading it needs the permission that writing took from the command line.
    let cell = ["cat", "main", "air/v/c/5/0"];
    sandbox.firn(&cell).fails(5);
    let allow = format!("file://{}/", sandbox.text("data"));
    let bytes = sandbox.firn(&[&cell[..], &["--allow", &allow]].concat()).out;
    assert_eq!(bytes, (0..300_i32).flat_map(|x| (5000 + x).to_be_bytes()).collect::<Vec<_>>());
    let times = sandbox.firn(&["cat", "main", "air/time/c/0"]).out;
    let times: Vec<f64> = times.chunks_exact(8).take(6).map(|t| f64::from_le_bytes(t.try_into().unwrap())).collect();
    assert_eq!(times, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let deps = sandbox.firn(&["deps", "main", "--json"]).rows();
    assert_eq!(deps.iter().map(|row| row["refs"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3, 1]);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("a.nc", netcdf(0, 2));
    let file = file.to_str().unwrap();
    let other = sandbox.write("b.nc", "no NetCDF");
    let other = other.to_str().unwrap();
    for (args, status, word) in [
        (vec!["virtualize", file, file], 9, "--concat"),
        (vec!["virtualize", other], 10, "b.nc"),
        (vec!["virtualize", "absent.nc"], 3, "absent.nc"),
        (vec!["virtualize", file, "--concat", "level"], 9, "level"),
        (vec!["virtualize", file, "--concat", "time", "--append"], 3, "--append"),
        (vec!["virtualize", file, "--group", "g"], 3, "NetCDF3"),
        (vec!["virtualize", file, "--zarr-format", "4"], 2, "4"),
        (vec!["virtualize", file, "--append"], 2, "--concat"),
        // Where the other writer's file has no chunk, the reference of this one would stay.
        (vec!["virtualize", file, "--concat", "time", "--append", "--on-conflict", "theirs"], 2, "--on-conflict"),
    ] {
        let told = sandbox.refused(status, || sandbox.firn(&args));
        assert!(told.contains(word), "{args:?}: {told}");
    }
}

#[cfg(feature = "http")]
#[test]
fn a_file_of_a_web_server_is_parsed_in_one_state_and_a_few_requests() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::web::{Server, Shown};

    let sandbox = Sandbox::new();
    // Three blocks of 1 MiB, with 2,000 times in as many places.
    let file = Shown::new(netcdf(0, 2000));
    let shown = file.clone();
    let server = Server::start(move |request| shown.answer(request));
    let (url, allow) = (server.url("/a.nc"), format!("{}=private", server.url("/")));
    sandbox.firn(&["virtualize", &url]).fails(5);
    assert!(server.take().is_empty());
    sandbox.firn(&["virtualize", &url, "--prefix", "air", "--allow", &allow]).ok();
    let asked = server.take();
    let reads: Vec<_> = asked.iter().filter(|request| request.header("range").is_some()).collect();
    assert!((3..=5).contains(&asked.len()), "{asked:?}");
    assert!(reads.len() >= 3 && reads.iter().skip(1).all(|read| read.header("if-match") == Some("\"one\"")), "{asked:?}");
    assert_eq!(sandbox.firn(&["deps", "main", "--json"]).rows()[0]["refs"], json!(2000));

    // The file is replaced while it is parsed.
    let (other, asked) = (Shown { etag: "\"two\"".to_owned(), ..file.clone() }, AtomicUsize::new(0));
    let server = Server::start(move |request| if asked.fetch_add(1, Ordering::Relaxed) < 2 { &file } else { &other }.answer(request));
    let allow = format!("{}=private", server.url("/"));
    let told = sandbox.refused(6, || sandbox.firn(&["virtualize", &server.url("/a.nc"), "--prefix", "b", "--allow", &allow]));
    assert!(told.contains("changed since it was pinned"), "{told}");
}
