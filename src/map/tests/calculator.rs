//! Roots equal those of an independent calculator of format v1, written from the text alone.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use rand::RngExt as _;
use serde_json::{Value as Json, json};

use super::support::*;
use crate::format::{Entry, FileKey, HistoryEntry, VirtualFile};
use crate::id::HashAlgorithm;
use crate::key::MapKey;
use crate::map::Shape;
use crate::testing::calculator;
use crate::text::hex;
use crate::time::Timestamp;

const MAPS: usize = 200;

/// Reads one map a line and prints its root and sums.
const DRIVER: &str = r#"
import json, sys
tools, kind, path = sys.argv[1:]
sys.path.insert(0, tools)
sys.dont_write_bytecode = True
import format_v1 as f
raw = lambda s: None if s is None else bytes.fromhex(s)
def value(r):
    if kind == "files": return r[0], r[1], raw(r[2]), r[3], raw(r[4]), r[5], r[6], r[7]
    if kind == "history": return raw(r[0]), r[1]
    if r[0] == "inline": return raw(r[1])
    if r[0] == "chunk": return "chunk", raw(r[1]), r[2]
    return "virtual", (r[1], tuple(r[2])), r[3], r[4]
for line in open(path, encoding="utf-8"):
    target, rows = json.loads(line)
    root, stat = f.root(kind, [(k, value(v)) for k, v in rows], target)
    print(f.text(root), stat["entries"], stat["bytes"], stat["nodes"])
"#;

/// A value as the driver reads it.
trait Plain: Random {
    const NAME: &'static str;
    fn plain(&self) -> Json;
    /// Makes nodes end by their size rather than by the hash.
    fn bulky(_n: u32) -> Option<Self> {
        None
    }
}

impl Plain for Entry {
    const NAME: &'static str = "manifest";
    fn plain(&self) -> Json {
        match self {
            Self::Inline(bytes) => json!(["inline", hex(bytes)]),
            Self::Chunk { id, size } => json!(["chunk", hex(&id.to_bytes()), size]),
            Self::Virtual { file, offset, length } => json!(["virtual", file.container(), file.args().collect::<Vec<_>>(), offset, length]),
        }
    }
    fn bulky(n: u32) -> Option<Self> {
        let file = FileKey::new("bulk", [format!("{}/{}", "long".repeat(500), n % 400).as_str(), "ü"]).unwrap();
        Some(Self::Virtual { file, offset: 0, length: u64::from(n) })
    }
}

impl Plain for VirtualFile {
    const NAME: &'static str = "files";
    fn plain(&self) -> Json {
        let bytes = |b: &Option<Vec<u8>>| b.as_ref().map(|b| hex(b));
        let (etag, digest) = (bytes(&self.etag), bytes(&self.digest));
        let modified = self.modified.map(Timestamp::micros);
        json!([self.size, modified, etag, self.version, digest, self.pinned_at.micros(), self.refs, self.bytes])
    }
}

impl Plain for HistoryEntry {
    const NAME: &'static str = "history";
    fn plain(&self) -> Json {
        json!([hex(&self.id.to_bytes()), self.summary])
    }
}

fn run(python: &str, tools: &Path, kind: &str, maps: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (driver, input) = (dir.path().join("driver.py"), dir.path().join("maps.ndjson"));
    std::fs::write(&driver, DRIVER).unwrap();
    std::fs::write(&input, maps).unwrap();
    let out = Command::new(python).arg(&driver).arg(tools).arg(kind).arg(&input).env("PYTHONIOENCODING", "utf-8").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn roots_equal<V: Plain>(test: &str, seed: u64) {
    let Some((python, tools)) = calculator(test) else { return };
    let mut rng = rng(seed);
    let (mut maps, mut expected) = (String::new(), Vec::new());
    let (mut entries, mut deep, mut by_size) = (0, 0, 0);
    for n in 0..MAPS {
        // Sizes are even on a logarithmic scale, from none to nearly 20,000.
        let most = 20_usize << rng.random_range(0..=10);
        let len = if n == 0 { 0 } else { rng.random_range(0..most.min(20_000)) };
        let mut model = random_model::<V>(&mut rng, len, 3000);
        if n % 20 == 3 {
            model.extend((0..1500).filter_map(|n| Some((MapKey::new(format!("bulky/{n}")), V::bulky(n)?))));
        }
        // Small maps are cut small as well, to be deep.
        for target in if len < 1000 { vec![13, 7] } else { vec![13] } {
            let shape = Shape { target, ..Shape::v1(HashAlgorithm::Sha2_256) };
            let (built, sink) = build(&model, shape);
            let rows: Vec<Json> = model.iter().map(|(k, v)| json!([k.as_str(), v.plain()])).collect();
            writeln!(maps, "{}", json!([target, rows])).unwrap();
            expected.push(format!("{} {} {} {}", built.root, built.totals.entries, built.totals.bytes, sink.nodes.len()));
            deep += usize::from(sink.nodes.last().unwrap().1.level() >= 2);
            by_size += usize::from(build(&model, Shape { limit: usize::MAX, ..shape }).0.root != built.root);
            entries += model.len();
        }
    }
    let got = run(&python, &tools, V::NAME, &maps);
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(got, expected);
    }
    println!(
        "{}: {} roots of {entries} entries agree; {deep} with three levels or more, {by_size} with a node ended by its size",
        V::NAME,
        got.len()
    );
    assert!(deep >= 20);
    assert!(by_size > 0 || V::bulky(0).is_none());
}

#[test]
fn manifest_roots_equal_the_calculators() {
    roots_equal::<Entry>("manifest_roots_equal_the_calculators", 51);
}

#[test]
fn files_roots_equal_the_calculators() {
    roots_equal::<VirtualFile>("files_roots_equal_the_calculators", 52);
}

#[test]
fn history_roots_equal_the_calculators() {
    roots_equal::<HistoryEntry>("history_roots_equal_the_calculators", 53);
}
