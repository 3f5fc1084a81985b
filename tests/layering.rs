//! The layers of `docs/architecture.md`, executed: a module names only lower layers, and some crates appear in one
//! place only.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

/// Every top-level module and its height. Arrows point down; modules of one height may name each other only where
/// [`SIBLINGS`] says so.
const LAYERS: &[(&str, u32)] = &[
    ("error", 0),
    ("key", 0),
    ("id", 0),
    ("time", 0),
    ("progress", 0),
    ("testing", 0),
    ("text", 0),
    ("varint", 0),
    ("dagcbor", 10),
    ("scratch", 10),
    ("unixfs", 11),
    ("carfile", 11),
    ("format", 11),
    ("storage", 11),
    ("zarr", 11),
    ("map", 20),
    ("objects", 30),
    ("chunk", 30),
    ("virtuals", 30),
    ("refs", 40),
    ("handle", 45),
    ("snapshot", 50),
    ("history", 51),
    ("session", 52),
    ("conflict", 53),
    ("commit", 54),
    ("car", 60),
    ("maintenance", 60),
    ("tree", 60),
    ("repository", 70),
];

/// Heights at which modules are parts of one thing and name each other: the words.
const SIBLINGS: &[u32] = &[0];

/// A crate and the only modules that may name it.
const CONFINED: &[(&str, &[&str])] = &[
    ("object_store", &["storage"]),
    ("reqwest", &["storage"]),
    ("rustls", &["storage"]),
    ("rustix", &["storage", "virtuals"]),
    ("flatbuffers", &["format"]),
    ("zstd", &["format"]),
    ("iroh_car", &["carfile"]),
    ("quick_cache", &["objects", "virtuals"]),
    ("serde_ipld_dagcbor", &["dagcbor"]),
];

/// Pure codecs: bytes and values, no I/O.
const PURE: &[&str] = &["dagcbor", "format", "unixfs", "zarr"];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every source file with the top-level module it belongs to; `lib` and `main` are the roof.
fn modules() -> Vec<(String, PathBuf, String)> {
    let mut files = Vec::new();
    rust_files(&src(), &mut files);
    let files = files.into_iter().map(|path| {
        let inside = path.strip_prefix(src()).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        (first.trim_end_matches(".rs").to_owned(), path.clone(), fs::read_to_string(&path).unwrap())
    });
    files.filter(|(module, ..)| module != "lib" && module != "main").collect()
}

fn height(module: &str) -> u32 {
    LAYERS.iter().find(|(name, _)| *name == module).unwrap_or_else(|| panic!("{module} has no layer: give it one here")).1
}

/// The code of a file without its comments and its tests.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]").next().unwrap();
    before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "tests.rs")
}

/// The words that follow `marker` up to the first character that no name has.
fn named_after<'a>(code: &'a str, marker: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(marker).filter_map(move |(at, _)| {
        let rest = &code[at + marker.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        Some(&rest[..end])
    })
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for (module, path, text) in modules().iter().filter(|(_, path, _)| !is_test(path)) {
        for named in named_after(&code(text), "crate::").filter(|n| n.chars().next().is_some_and(char::is_lowercase)) {
            let (from, to) = (height(module), height(named));
            if module != named && (to > from || (to == from && !SIBLINGS.contains(&from))) {
                wrong.push(format!("{} ({from}) names {named} ({to})", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (module, path, text) in modules().iter().filter(|(_, path, _)| !is_test(path)) {
        let code = code(text);
        for (name, homes) in CONFINED {
            if !homes.contains(&module.as_str()) && code.contains(&format!("{name}::")) {
                wrong.push(format!("{} names {name}", path.display()));
            }
        }
        if PURE.contains(&module.as_str()) {
            for io in ["tokio::", "std::fs", "std::net", "async fn", "crate::storage"] {
                if code.contains(io) {
                    wrong.push(format!("{} is a pure codec and names {io}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_layout_spells_names_of_objects() {
    let folders =
        ["\"snapshots/", "\"manifests/", "\"files/", "\"history/", "\"chunks/", "\"refs/branches", "\"refs/tags", "\"moves/", "\"shallow/"];
    let spells = |path: &Path| path.ends_with("storage/layout.rs") || path.ends_with("storage/conformance.rs");
    for (_, path, text) in modules().iter().filter(|(_, path, _)| !is_test(path) && !spells(path)) {
        let code = code(text);
        assert!(!folders.iter().any(|f| code.contains(f)), "{} spells the name of an object", path.display());
    }
}

#[test]
fn only_refs_and_the_making_of_a_repository_replace_registers() {
    for (module, path, text) in modules().iter().filter(|(_, path, _)| !is_test(path)) {
        let allowed = matches!(module.as_str(), "refs" | "storage") || path.ends_with("repository/create.rs");
        assert!(allowed || !code(text).contains(".replace(&register"), "{} replaces a register", path.display());
    }
}
