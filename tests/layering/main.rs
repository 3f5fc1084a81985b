//! The layers of `docs/architecture.md`, executed on all code but tests: a module names only lower layers, some crates
//! appear in one place only, and the name of a type is unique.

#![cfg(test)]

mod arrows;
mod names;
mod planted;
mod source;
mod threats;

use std::path::{Path, PathBuf};

use arrows::Roof;
use source::{Crate, Lexeme, Module};

/// Every top-level module and its height. A module names only modules of lower heights; modules of one height name each
/// other only where [`SIBLINGS`] says so.
const LAYERS: &[(&str, u32)] = &[
    ("ambient", 0),
    ("blocking", 0),
    ("budget", 0),
    ("error", 0),
    ("key", 0),
    ("id", 0),
    ("time", 0),
    ("percent", 0),
    ("progress", 0),
    ("seeded", 0),
    ("text", 0),
    ("varint", 0),
    ("backoff", 0),
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
    ("dependencies", 60),
    ("maintenance", 60),
    ("tree", 60),
    ("repository", 70),
    ("branches", 71),
    ("sync", 72),
    ("fuzzing", 80),
];

/// Heights at which modules are parts of one thing and name each other: the words.
const SIBLINGS: &[u32] = &[0];

/// A crate and the only modules that may name it. The command names none of them.
const CONFINED: &[(&str, &[&str])] = &[
    ("object_store", &["storage"]),
    ("reqwest", &["storage"]),
    ("rustls", &["storage"]),
    ("rustix", &["storage", "virtuals"]),
    ("flatbuffers", &["format"]),
    ("zstd", &["format"]),
    ("iroh_car", &["carfile"]),
    ("quick_cache", &["chunk", "objects", "virtuals"]),
    ("percent_encoding", &["percent"]),
    ("httpdate", &["storage"]),
    ("serde_ipld_dagcbor", &["dagcbor"]),
    ("clap", &[]),
    ("indicatif", &[]),
    ("parquet", &[]),
];

/// Pure codecs: bytes and values, no I/O.
const PURE: &[&str] = &["dagcbor", "format", "unixfs", "zarr"];

/// What a pure codec does not name: the first and, if it matters, the second word of a path.
const IO: &[(&str, Option<&str>)] = &[("tokio", None), ("std", Some("fs")), ("std", Some("net"))];

/// The beginnings of the names of objects.
const FOLDERS: &[&str] = &[
    "snapshots/",
    "manifests/",
    "files/",
    "history/",
    "chunks/",
    "refs/branches",
    "refs/tags",
    "moves/",
    "shallow/",
    "changes/",
    "gc/lists",
];

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn engine() -> Crate {
    Crate::read(&home().join("src/lib.rs"))
}

fn command() -> Crate {
    Crate::read(&home().join("crates/cli/src/main.rs"))
}

fn height(module: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, height)| *height)
}

/// The arrows from `module` that do not point down.
fn wrong_arrows(module: &Module, roof: &Roof) -> Vec<String> {
    let Some(top) = module.top() else { return Vec::new() };
    let place = module.file.display();
    let Some(from) = height(top) else { return vec![format!("{place}: {top} has no layer: give it one in LAYERS")] };
    let others = arrows::named(module, roof).into_iter().filter(|named| named != top);
    let wrong = others.filter_map(|named| match height(&named) {
        Some(to) if to < from || (to == from && SIBLINGS.contains(&from)) => None,
        Some(to) => Some(format!("{place}: {top} ({from}) names {named} ({to})")),
        None => Some(format!("{place}: {top} names {named}, which is no module with a layer")),
    });
    wrong.collect()
}

/// The crates that `module` names although they are confined elsewhere, and the I/O that a codec names.
fn wrong_crates(module: &Module) -> Vec<String> {
    let (top, tokens, place) = (module.top().unwrap_or("the root"), module.flat(), module.file.display());
    let mut wrong = Vec::new();
    for (name, homes) in CONFINED {
        if !homes.contains(&top) && names_crate(&tokens, name, None) {
            wrong.push(format!("{place}: {top} names {name}"));
        }
    }
    if PURE.contains(&top) {
        for (name, then) in IO {
            if names_crate(&tokens, name, *then) {
                wrong.push(format!("{place}: {top} is a pure codec and names {name}"));
            }
        }
        if tokens.iter().any(|token| token.word() == Some("async")) {
            wrong.push(format!("{place}: {top} is a pure codec and has asynchronous code"));
        }
    }
    wrong
}

/// Whether a path begins with `name`, and goes on with `then` if that is given, in groups also.
fn names_crate(tokens: &[Lexeme], name: &str, then: Option<&str>) -> bool {
    tokens.iter().enumerate().any(|(at, token)| {
        let is_inside = at > 1 && tokens[at - 1].is_sign("::") && tokens[at - 2].word().is_some();
        if token.word() != Some(name) || is_inside || at > 0 && tokens[at - 1].is_sign(".") {
            return false;
        }
        let next = tokens.get(at + 1);
        let goes_on = next.is_some_and(|next| next.is_sign("::"));
        match then {
            None => goes_on || next.and_then(Lexeme::word) == Some("as"),
            Some(then) => goes_on && (words_after(tokens, at + 2).iter().any(|word| word == then)),
        }
    })
}

/// The word at `at`, or all words of the group there.
fn words_after(tokens: &[Lexeme], at: usize) -> Vec<String> {
    match tokens.get(at) {
        Some(Lexeme::Word(word)) => vec![word.clone()],
        Some(sign) if sign.is_sign("{") => {
            let inside = tokens[at..].iter().take_while(|token| !token.is_sign("}") && !token.is_sign(";"));
            inside.filter_map(|token| token.word().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}

/// The literals of `module` that begin as names of objects do.
fn spelled_names(module: &Module) -> Vec<String> {
    if module.path == ["storage", "layout"] || module.path == ["storage", "conformance"] {
        return Vec::new();
    }
    let spells = |token: &Lexeme| match token {
        Lexeme::Text(text) if FOLDERS.iter().any(|folder| text.starts_with(folder)) => Some(text.clone()),
        _ => None,
    };
    let found = module.flat().iter().filter_map(spells).collect::<Vec<_>>();
    found.into_iter().map(|text| format!("{}: spells the name of an object: {text:?}", module.file.display())).collect()
}

/// The calls of `module` that replace a register: `replace` with three arguments, or through the trait with four.
fn replaces(module: &Module) -> Vec<String> {
    if matches!(module.top(), Some("refs" | "storage")) || module.path == ["repository", "create"] {
        return Vec::new();
    }
    let tokens = module.flat();
    let calls = (1..tokens.len()).filter(|&at| {
        let is_call = tokens[at].word() == Some("replace") && tokens.get(at + 1).is_some_and(|next| next.is_sign("("));
        is_call && (tokens[at - 1].is_sign(".") || tokens[at - 1].is_sign("::")) && arguments(&tokens, at + 1) >= 3
    });
    calls.map(|_| format!("{}: replaces a register", module.file.display())).collect()
}

/// How many arguments the call has whose parenthesis is the token `at`.
fn arguments(tokens: &[Lexeme], at: usize) -> usize {
    let (mut depth, mut commas, mut last) = (0, 0, at);
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token {
            Lexeme::Sign(sign) if matches!(sign.as_str(), "(" | "[" | "{") => depth += 1,
            Lexeme::Sign(sign) if matches!(sign.as_str(), ")" | "]" | "}") => depth -= 1,
            Lexeme::Sign(sign) if sign == "," && depth == 1 => (commas, last) = (commas + 1, place),
            _ => {}
        }
        if depth == 0 {
            return commas + usize::from(place > last + 1);
        }
    }
    0
}

/// The calls of `module` that remove objects.
fn removes(module: &Module) -> Vec<String> {
    if matches!(module.path.as_slice(), [first, ..] if first == "storage")
        || matches!(module.path.as_slice(), [a, b, ..] if a == "maintenance" && b == "gc")
    {
        return Vec::new();
    }
    let calls = module.flat().iter().filter(|token| token.word() == Some("delete_many")).count();
    (0..calls).map(|_| format!("{}: removes objects", module.file.display())).collect()
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file that no module declares would be seen by none of these tests.
#[test]
fn every_file_is_reached_from_its_root() {
    for (found, src) in [(engine(), home().join("src")), (command(), home().join("crates/cli/src"))] {
        let reached: Vec<&PathBuf> = found.modules.iter().map(|module| &module.file).collect();
        let for_tests = |file: &PathBuf| {
            found.tests.iter().any(|test| {
                file == test
                    || file.starts_with(test.with_extension(""))
                    || test.ends_with("mod.rs") && file.starts_with(test.parent().unwrap())
            })
        };
        let lost: Vec<_> = source::rust_files(&src).into_iter().filter(|file| !reached.contains(&file) && !for_tests(file)).collect();
        assert!(lost.is_empty(), "no module declares {lost:?}");
    }
}

#[test]
fn arrows_point_down() {
    let engine = engine();
    let roof = arrows::roof(engine.modules.last().unwrap());
    none(&engine.modules.iter().flat_map(|module| wrong_arrows(module, &roof)).collect::<Vec<_>>());
}

#[test]
fn every_layer_is_a_module() {
    let engine = engine();
    for (name, _) in LAYERS {
        assert!(engine.modules.iter().any(|module| module.path == [*name]), "{name} is no module");
    }
}

#[test]
fn crates_stay_where_they_belong() {
    none(&engine().modules.iter().flat_map(wrong_crates).collect::<Vec<_>>());
    let below = CONFINED.iter().filter(|(_, homes)| !homes.is_empty());
    for module in &command().modules {
        let tokens = module.flat();
        for (name, _) in below.clone() {
            assert!(!names_crate(&tokens, name, None), "{}: the command names {name}", module.file.display());
        }
    }
}

#[test]
fn only_the_layout_spells_names_of_objects() {
    none(&engine().modules.iter().chain(&command().modules).flat_map(spelled_names).collect::<Vec<_>>());
}

#[test]
fn only_refs_and_the_making_of_a_repository_replace_registers() {
    none(&engine().modules.iter().chain(&command().modules).flat_map(replaces).collect::<Vec<_>>());
}

#[test]
fn only_collections_remove_objects() {
    none(&engine().modules.iter().chain(&command().modules).flat_map(removes).collect::<Vec<_>>());
}
