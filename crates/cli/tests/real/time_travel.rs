//! A climate scenario as a Zarr store that changes: every state as it was, at every moment, under every law of the format.

use std::path::Path;
use std::time::Duration;

use firnline::{Timestamp, parse_time};
use serde_json::Value;

use crate::tools::{Firn, Tools, Tree, assert_same, calculator, field, tree};

const SOURCE: &str = "E1_north_america.nc";
const TICK: Duration = Duration::from_micros(1);

/// A store in three states, each committed, and the branch then reset to the first.
pub(crate) struct Story {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) firn: Firn,
    /// The directory before anything was committed (it was empty), and as each commit found it.
    pub(crate) trees: Vec<Tree>,
    /// What zarr-python read in it; nothing in the empty one.
    values: Vec<Option<Value>>,
    /// When each of the four states was committed.
    times: Vec<Timestamp>,
    pub(crate) ids: Vec<String>,
}

impl Story {
    pub(crate) fn tell(tools: &Tools, format: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let firn = Firn::init(tools, &folder.path().join("repository"));
        let directory = folder.path().join("store.zarr");
        let path = directory.to_str().unwrap();
        let mut story = Self { folder, firn, trees: vec![Tree::new()], values: vec![None], times: Vec::new(), ids: Vec::new() };
        let source = tools.file(SOURCE);
        let source = source.to_str().unwrap();
        let steps: [&[&str]; 3] = [&["write", source, path, format], &["change", path, "1"], &["change", path, "2"]];
        for step in steps {
            tools.python("zarr_tree.py", step);
            story.ids.push(story.firn.ok(&["import", path, "--mirror", "-m", step[0]]));
            story.trees.push(tree(&directory));
            story.values.push(tools.values(&[&directory]).pop());
        }
        let log = story.firn.json(&["log"]);
        story.times = log.iter().rev().map(|row| time(field(row, "time"))).collect();
        let ids: Vec<_> = log.iter().rev().skip(1).map(|row| field(row, "id")).collect();
        assert_eq!(ids, story.ids, "the log lists what the imports printed");
        story
    }

    /// Checks out `revision` and compares it with state `n`, byte by byte; returns where it lies.
    fn shows(&self, revision: &str, n: usize) -> std::path::PathBuf {
        let target = self.folder.path().join(format!("out {revision}"));
        self.firn.ok(&["checkout", revision, target.to_str().unwrap()]);
        assert_same(&tree(&target), &self.trees[n], &format!("{revision} is state {n}"));
        target
    }

    /// Whether the answer for `revision` is final, as the command says.
    fn is_final(&self, revision: &str) -> bool {
        let ran = self.firn.run(&["show", revision, "--json"]);
        assert!(ran.status.success());
        let said = crate::tools::lines(&ran.stderr);
        said[0]["resolved"]["final"].as_bool().unwrap()
    }
}

fn time(text: &str) -> Timestamp {
    parse_time(text, Timestamp::from_micros(0)).unwrap()
}

fn halfway(from: Timestamp, to: Timestamp) -> Timestamp {
    Timestamp::from_micros(i64::midpoint(from.micros(), to.micros()))
}

on_every_store!(every_moment_of_a_zarr_v3_store_comes_back, every_moment_of_a_zarr_v2_store_comes_back);

fn every_moment_of_a_zarr_v3_store_comes_back(tools: &Tools) {
    every_moment_comes_back(tools, "3");
}

fn every_moment_of_a_zarr_v2_store_comes_back(tools: &Tools) {
    every_moment_comes_back(tools, "2");
}

fn every_moment_comes_back(tools: &Tools, format: &str) {
    let story = Story::tell(tools, format);
    assert!(story.trees[1].len() > 900 && story.trees[1] != story.trees[2] && story.trees[3].len() != story.trees[2].len());
    assert!(story.trees[1].values().any(|bytes| bytes.len() > 1 << 20), "one chunk is a file of several blocks");
    holds_the_source(tools, story.values[1].as_ref().unwrap());

    let before_reset = moments(&story);
    let stores: Vec<_> = before_reset.iter().filter(|(_, n)| *n > 0).map(|(at, n)| (story.shows(at, *n), *n)).collect();
    let paths: Vec<&Path> = stores.iter().map(|(path, _)| path.as_path()).collect();
    for (found, (path, n)) in tools.values(&paths).into_iter().zip(&stores) {
        assert_eq!(Some(&found), story.values[*n].as_ref(), "zarr-python reads {} as it read state {n}", path.display());
    }
    let never = format!("main@{}", earlier(story.times[0], Duration::from_secs(1)));
    assert_eq!(story.firn.fails(&["checkout", &never, "nowhere"]).0, 3, "nothing was there before main was made");

    story.firn.ok(&["reset", "main", &story.ids[0]]);
    let moves = story.firn.json(&["moves"]);
    let reset = time(field(moves.iter().find(|row| field(row, "op") == "reset").unwrap(), "time"));
    for (path, _) in &stores {
        std::fs::remove_dir_all(path).unwrap();
    }
    // What readers saw stays what they saw, and the branch shows the first state since.
    for (at, n) in before_reset {
        story.shows(&at, n);
        assert!(story.is_final(&at), "{at} can no longer change");
    }
    story.shows("main", 1);
    story.shows(&format!("main@{reset}"), 1);
    story.shows(&format!("main@{}", reset.plus(TICK)), 1);
    story.shows(&format!("main@{}", earlier(reset, TICK)), 3);
    story.shows(&format!("main@{}", halfway(story.times[3], reset)), 3);
    assert!(story.is_final(&format!("main@{reset}")) && !story.is_final("main@now"));
    // The commits themselves know nothing of the reset.
    story.shows(&story.ids[2], 3);
    story.shows(&format!("{}~1", story.ids[2]), 2);
    story.firn.sound();
}

fn earlier(time: Timestamp, span: Duration) -> Timestamp {
    time.minus(span)
}

/// Around every commit: exactly then, a microsecond before and after, and halfway to the next; with the state that must show.
fn moments(story: &Story) -> Vec<(String, usize)> {
    let mut moments = Vec::new();
    for (n, &at) in story.times.iter().enumerate() {
        moments.push((at, n));
        moments.push((at.plus(TICK), n));
        if n > 0 {
            moments.push((earlier(at, TICK), n - 1));
            moments.push((halfway(story.times[n - 1], at), n - 1));
        }
    }
    moments.into_iter().map(|(at, n)| (format!("main@{at}"), n)).collect()
}

/// The store holds exactly the values of the file that it was made from.
fn holds_the_source(tools: &Tools, store: &Value) {
    let source = &tools.values(&[&tools.file(SOURCE)])[0];
    let arrays = source["arrays"].as_object().unwrap();
    assert_eq!(arrays.len(), 9);
    for (name, want) in arrays {
        let found = &store["arrays"][name];
        for what in ["shape", "type", "sha256"] {
            assert_eq!(found[what], want[what], "{what} of {name}");
        }
    }
}

on_every_store!(roots_of_real_trees_are_those_of_the_calculator);

fn roots_of_real_trees_are_those_of_the_calculator(tools: &Tools) {
    let Some(calculator) = calculator(tools.test) else { return };
    for format in ["3", "2"] {
        let story = Story::tell(tools, format);
        for (n, id) in story.ids.iter().enumerate() {
            let out = story.shows(id, n + 1);
            let want = &tools.python_file(&calculator, &["tree", out.to_str().unwrap()])[0];
            let found = &story.firn.json(&["show", id])[0]["manifest"];
            assert_eq!(field(found, "root"), field(want, "root"), "format {format}, state {}", n + 1);
            assert_eq!((&found["keys"], &found["bytes"]), (&want["entries"], &want["bytes"]));
        }
    }
}
