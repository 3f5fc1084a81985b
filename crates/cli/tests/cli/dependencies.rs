//! `firn deps` and the verbs below it.

use std::fs::{self, File};
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use firnline::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::support::{Run, Sandbox, noise};

/// Three files below `data`, dated yesterday, that two commits point into: `a` and `b c` at first, `d/e` later.
struct Depending {
    sandbox: Sandbox,
    place: String,
}

impl Depending {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let yesterday = SystemClock.now().minus(Duration::from_hours(24)).micros().unsigned_abs();
        for (n, name) in ["a.nc", "b c.nc", "d/e.nc"].iter().enumerate() {
            let path = sandbox.write(&format!("data/{name}"), noise(n as u64, 1000));
            let date = SystemTime::UNIX_EPOCH + Duration::from_micros(yesterday);
            File::options().write(true).open(path).unwrap().set_modified(date).unwrap();
        }
        let place = format!("file://{}/", sandbox.text("data"));
        let depending = Self { sandbox, place };
        depending.point(&[("t/0", "a.nc"), ("t/1", "a.nc"), ("u/0", "b%20c.nc")]);
        depending.sandbox.put("t/.zarray", "{}");
        depending.point(&[("t/2", "d/e.nc")]);
        depending
    }

    fn point(&self, references: &[(&str, &str)]) {
        let line = |(key, name): &(&str, &str)| {
            json!({ "op": "virtual", "key": key, "url": format!("{}{name}", self.place), "offset": 0, "length": 10 }).to_string()
        };
        let lines: Vec<_> = references.iter().map(line).collect();
        self.sandbox.firn_with(&["apply", "--allow", &self.place], lines.join("\n")).ok();
    }

    fn deps(&self, args: &[&str]) -> Run {
        self.sandbox.firn(&[&["deps"], args, &["--allow", &self.place]].concat())
    }

    fn rows(&self, args: &[&str], fields: &[&str]) -> Vec<Vec<Value>> {
        let run = self.deps(&[args, &["--json"]].concat());
        let text = String::from_utf8(run.out).unwrap();
        let row = |line: &str| -> Vec<Value> {
            let row: Value = serde_json::from_str(line).unwrap();
            fields.iter().map(|field| row[field].clone()).collect()
        };
        text.lines().map(row).collect()
    }

    fn url(&self, name: &str) -> String {
        format!("{}{name}", self.place)
    }
}

#[test]
fn lists_by_file_container_array_and_over_history() {
    let depending = Depending::new();
    let urls = [depending.url("a.nc"), depending.url("b%20c.nc"), depending.url("d/e.nc")];
    let by_file = depending.rows(&[], &["url", "refs", "bytes"]);
    assert_eq!(
        by_file,
        [vec![json!(urls[0]), json!(2), json!(20)], vec![json!(urls[1]), json!(1), json!(10)], vec![json!(urls[2]), json!(1), json!(10)]]
    );
    assert_eq!(
        depending.rows(&["--by", "container"], &["container", "files", "refs", "bytes"]),
        [[json!("file://"), json!(3), json!(4), json!(40)]]
    );
    let by_array = depending.rows(&["--by", "array"], &["array", "kind", "files", "refs"]);
    assert_eq!(by_array, [[json!("t/"), json!("array"), json!(2), json!(3)], [json!("u/"), json!("directory"), json!(1), json!(1)]]);
    assert_eq!(depending.rows(&["--places"], &["place"]), [[json!("file:///{}")]]);

    depending.sandbox.firn(&["rm", "u/0"]).ok();
    let ids: Vec<Value> = depending.sandbox.firn(&["log", "--json"]).rows().iter().rev().map(|row| row["id"].clone()).collect();
    let ever = depending.rows(&["--all-history"], &["url", "versions", "first", "last"]);
    let want = [(0, 4, 1, 4), (1, 3, 1, 3), (2, 2, 3, 4)];
    for (row, (url, versions, first, last)) in ever.iter().zip(want) {
        assert_eq!((&row[0], &row[1]), (&json!(urls[url]), &json!(versions)));
        assert_eq!((&row[2]["id"], &row[3]["id"]), (&ids[first], &ids[last]));
    }
    assert_eq!(ever.len(), 3);
    assert_eq!(depending.rows(&[], &["url"]).len(), 2);
    assert!(depending.deps(&["--by", "array", "--all-history"]).fails(9).contains("--all-history"));
    // Options of all verbs stand where one likes.
    assert_eq!(depending.sandbox.firn(&["--json", "deps", "--allow", &depending.place, "check", "main~2"]).status, 0);
    depending.deps(&["main", "check"]).fails(9);
    depending.deps(&["--csv", "check"]).fails(9);
    depending.sandbox.firn(&["branch", "check", "main~3"]).ok();
    assert_eq!(depending.rows(&["branch:check"], &["url"]).len(), 2);
}

#[test]
fn long_lists_are_tables_csv_or_parquet() {
    let depending = Depending::new();
    let table = depending.deps(&[]).lines();
    assert!(table.len() == 4 && table[0].starts_with("FILE ") && table[1].contains("  20 "), "{table:?}");
    let csv = depending.deps(&["--csv"]).lines();
    assert_eq!(csv[0], "url,container,args,refs,bytes,size,modified,pinned_at,pinned,racy,etag,version,digest");
    assert!(csv[1].starts_with(&format!("{},file://,\"[\"\"", depending.url("a.nc"))) && csv[1].ends_with(",true,false,,,"), "{csv:?}");
    let file = depending.sandbox.text("deps.parquet");
    assert_eq!(depending.deps(&["--parquet", &file]).ok(), "");
    let mut magic = [0; 4];
    File::open(&file).unwrap().read_exact(&mut magic).unwrap();
    assert_eq!(&magic, b"PAR1");
    depending.deps(&["--parquet", &file]).fails(9);
    depending.deps(&["--csv", "--json"]).fails(9);
    // A list without rows has its line of names.
    assert_eq!(depending.deps(&["main~3", "--csv"]).lines().len(), 1);
    assert_eq!(depending.deps(&["main~3"]).ok(), "");
}

#[test]
fn diff_says_what_differs_between_two_versions() {
    let depending = Depending::new();
    depending.sandbox.firn(&["rm", "u/0"]).ok();
    depending.point(&[("t/3", "a.nc")]);
    let fields = ["change", "what", "name", "detail"];
    let rows = depending.rows(&["diff", "main~4", "main"], &fields);
    assert_eq!(rows.len(), 3);
    let changes = |rows: &[Vec<Value>]| {
        rows.iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[2].clone(), row[3].clone())).collect::<Vec<_>>()
    };
    let want = [
        ("counted".to_owned(), json!(depending.url("a.nc")), json!("refs 2 → 3, bytes 20 → 30")),
        ("removed".to_owned(), json!(depending.url("b%20c.nc")), Value::Null),
        ("added".to_owned(), json!(depending.url("d/e.nc")), Value::Null),
    ];
    assert_eq!(changes(&rows), want);
    fs::write(depending.sandbox.path("data/a.nc"), noise(9, 1001)).unwrap();
    depending.deps(&["repin", &depending.place]).ok();
    let run = depending.deps(&["diff", "main~1"]);
    let text = text_of(&run);
    assert!(run.status == 1 && text.contains("changed") && text.contains("size 1000 → 1001"), "{text}");
    assert_eq!(depending.deps(&["diff", "main", "main"]).status, 0);
}

#[test]
fn who_uses_answers_for_files_and_places_and_names_keys() {
    let depending = Depending::new();
    depending.sandbox.firn(&["tag", "early", "main~1"]).ok();
    let fields = ["what", "name", "files", "refs", "bytes"];
    let file = depending.url("d/e.nc");
    assert_eq!(depending.rows(&["who-uses", &file], &fields), [[json!("branch"), json!("main"), json!(1), json!(1), json!(10)]]);
    let rows = depending.rows(&["who-uses", depending.place.trim_end_matches('/')], &fields);
    let want =
        [[json!("branch"), json!("main"), json!(3), json!(4), json!(40)], [json!("tag"), json!("early"), json!(2), json!(3), json!(30)]];
    assert_eq!(rows, want);
    assert_eq!(depending.deps(&["who-uses", &file]).status, 1, "used: it may not be deleted");
    // The usual spelling and the plain one are one file.
    assert_eq!(depending.deps(&["who-uses", &depending.url("b c.nc")]).status, 1);

    let keys = depending.rows(&["who-uses", &depending.url("a.nc"), "--keys"], &["key", "offset", "refs"]);
    let refs = json!(["branch:main", "tag:early"]);
    assert_eq!(keys, [[json!("t/0"), json!(0), refs.clone()], [json!("t/1"), json!(0), refs]]);

    depending.sandbox.firn(&["rm", "t/2"]).ok();
    let run = depending.deps(&["who-uses", &file]);
    assert_eq!((run.status, run.out.len()), (0, 0));
    assert!(run.err.contains("nothing uses") && run.err.contains("2 branches and tags"), "{}", run.err);
    let past = depending.rows(&["who-uses", &file, "--all-history"], &["what", "files"]);
    assert_eq!(past, [[json!("version"), json!(1)]]);
    let run = depending.deps(&["who-uses", "s3://nowhere/x"]);
    assert!(run.status == 0 && run.err.contains("none of their containers has such a file"), "{}", run.err);
    assert!(depending.deps(&["who-uses", "/data/x"]).fails(9).contains("file:///data/x"));
}

#[test]
fn check_sums_up_and_verifies_digests_only_on_request() {
    let depending = Depending::new();
    let run = depending.deps(&["check", "--json"]);
    assert_eq!(run.status, 0);
    let summary: Value = serde_json::from_str(run.err.trim()).unwrap();
    assert_eq!(summary, json!({ "checked": { "files": 3, "states": { "ok": 3 } } }));
    assert_eq!(depending.deps(&["check", "--sample", "0.001%"]).err, "firn: 1 file checked: 1 ok\n");
    depending.deps(&["check", "--sample", "101"]).fails(9);
    depending.deps(&["check", "--sample", "some"]).fails(2);

    depending.deps(&["lock"]).ok();
    let file = depending.sandbox.path("data/a.nc");
    let date = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, noise(9, 1000)).unwrap();
    File::options().write(true).open(&file).unwrap().set_modified(date).unwrap();
    assert_eq!(depending.deps(&["check"]).status, 0, "size and date are as recorded");
    let run = depending.deps(&["check", "--digest"]);
    assert_eq!(run.status, 1);
    assert!(run.err.ends_with("3 files checked: 1 corrupt, 2 ok\n"), "{}", run.err);
    assert!(text_of(&run).contains("sha2-256 digest"), "{}", text_of(&run));
}

#[test]
fn lock_and_checksums_and_the_program_that_others_use() {
    let depending = Depending::new();
    let before = depending.sandbox.state();
    assert!(depending.deps(&["lock", "--dry-run"]).err.contains("3 files locked"));
    assert_eq!(depending.sandbox.state(), before);
    let run = depending.deps(&["checksums"]);
    assert!(run.status == 1 && run.err.contains("no digest of it is locked"), "{}", run.err);
    let id = depending.deps(&["lock", "-m", "lock"]).ok();
    assert_eq!(depending.sandbox.firn(&["log", "--json"]).rows()[0]["id"], id);
    assert_eq!(depending.deps(&["lock"]).ok(), id, "nothing is left to lock");
    let list = depending.deps(&["checksums", "--relative-to", &depending.sandbox.text("data")]);
    assert_eq!((list.status, list.err.as_str()), (0, ""));
    let sums = depending.sandbox.write("sums", &list.out);
    let check = |directory: &str| {
        let mut command = Command::new("sha256sum");
        command.args(["-c", "--strict"]).arg(&sums).current_dir(depending.sandbox.path(directory));
        command.stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    // Nothing else on this system says whether the list is one; it is there on every Linux.
    if let Ok(status) = check("data") {
        assert!(status.success());
        assert!(!check("repo").unwrap().success());
    }

    // The same list locks the same files elsewhere, without reading any.
    let other = Depending::new();
    let run = other.sandbox.firn(&["deps", "lock", "--from", sums.to_str().unwrap(), "--json"]);
    let unmatched = format!("{}  gone.nc\n", "0".repeat(64));
    assert_eq!((run.status, run.err.as_str()), (0, ""));
    assert_eq!(other.rows(&[], &["digest"]), depending.rows(&[], &["digest"]));
    let run = other.sandbox.firn_with(&["deps", "lock", "--from", "-", "--json"], &unmatched);
    assert!(run.status == 0 && run.err.contains(r#"{"not_locked":{"name":"gone.nc","why":"unmatched"}}"#), "{}", run.err);
    assert!(other.sandbox.firn_with(&["deps", "lock", "--from", "-"], unmatched.replace("gone", "a")).fails(9).contains("line 1 "));
    other.sandbox.firn(&["deps", "lock", "--from", "absent"]).fails(3);
    fs::write(other.sandbox.path("data/a.nc"), "x").unwrap();
    assert_eq!(other.deps(&["check", "--digest"]).status, 1);
}

/// Ten thousand lookups would be ten thousand requests too many.
#[cfg(feature = "http")]
#[test]
fn check_asks_a_server_once_for_each_file() {
    use crate::web::{Server, Shown};
    let sandbox = Sandbox::new();
    let server = Server::start(|request| Shown::new("0123456789").answer(request));
    let allow = format!("{}=private", server.url("/"));
    let line = |n: u32| json!({ "op": "virtual", "key": format!("k/{n}"), "url": server.url(&format!("/{}.nc", n % 20)), "offset": 0, "length": 4 });
    let lines: Vec<_> = (0..60).map(|n| line(n).to_string()).collect();
    sandbox.firn_with(&["apply", "--allow", &allow], lines.join("\n")).ok();
    server.take();
    let run = sandbox.firn(&["deps", "check", "--allow", &allow]);
    assert_eq!((run.status, run.err.as_str()), (0, "firn: 20 files checked: 20 ok\n"));
    let mut asked: Vec<String> = server.take().into_iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    asked.sort();
    let mut want: Vec<String> = (0..20).map(|n| format!("HEAD /{n}.nc")).collect();
    want.sort();
    assert_eq!(asked, want);
}

fn text_of(run: &Run) -> String {
    String::from_utf8(run.out.clone()).unwrap()
}
