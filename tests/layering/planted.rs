//! The rules are seen to catch what they are for: a violation is planted in each module, in memory.

use std::fs;
use std::path::Path;

use super::*;

/// Ways to name another module. `UP` stands for its name; each is legal where it is planted.
const WAYS: &[&str] = &[
    "use crate::UP;",
    "use crate::UP::Something;",
    "pub use crate::UP::Something;",
    "pub(crate) use crate::UP as lower;",
    "use crate::{error::Error, UP::{One, Two}};",
    "fn planted() { let x = crate::UP::something(); }",
    "fn planted(x: &dyn crate::UP::Something) {}",
    "fn planted() { println!(\"{}\", crate::UP::NAME); }",
    "macro_rules! planted { () => { $crate::UP::something() }; }",
    "#[cfg(feature = \"http\")] use crate::UP::Something;",
    "#[cfg(any(test, feature = \"testing\"))] use crate::UP::Something;",
    "#[cfg(test)] mod tests { fn t() {} } use crate::UP::Something;",
    "#[cfg(test)] use std::fs; impl Planted { #[cfg(test)] fn t() {} fn f() -> crate::UP::Something {} }",
    "mod inside { use crate::UP::Something; }",
];

/// The same by `super`, from the file of a module of the first level, from a module below it, and from an inline module.
const BY_SUPER: &[(&[&str], &str)] = &[
    (&[], "use super::UP::Something;"),
    (&[], "pub use self::super::UP::Something;"),
    (&[], "use super::*;"),
    (&["below"], "use super::super::UP::Something;"),
    (&["below"], "fn planted() { super::super::UP::something(); }"),
    (&[], "mod inside { pub(super) use super::super::UP::Something; }"),
];

/// What tests may name, and what names nothing of another module.
const ALLOWED: &[&str] = &[
    "#[cfg(test)] use crate::UP::Something;",
    "#[cfg(test)] mod tests { use crate::UP::Something; }",
    "#[cfg(all(test, unix))] mod tests { use crate::UP::Something; }",
    "/// See [`Something`](crate::UP::Something).\nstruct Planted;",
    "// use crate::UP::Something;",
    "fn planted() { let text = \"crate::UP::Something\"; }",
    "mod inside { use super::UP::Something; }",
    "pub(crate) struct UP;",
];

/// The file of a module of the first level with `code` after its own.
fn with(top: &str, code: &str) -> Module {
    let src = home().join("src");
    let file = [src.join(top).join("mod.rs"), src.join(format!("{top}.rs"))].into_iter().find(|file| file.exists()).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    Module::parse(&[top], &file, &format!("{text}\n{code}\n"))
}

/// A module that holds nothing but `code`.
fn alone(path: &[&str], code: &str) -> Module {
    Module::parse(path, &Path::new("planted").join(path.join("/")), code)
}

/// Another module that `top` may not name.
fn forbidden(top: &str) -> Option<&'static str> {
    let from = height(top).unwrap();
    let up = |(name, to): &&(&str, u32)| *name != top && (*to > from || *to == from && !SIBLINGS.contains(&from));
    LAYERS.iter().filter(up).map(|(name, _)| *name).next_back()
}

#[test]
fn an_arrow_up_that_is_planted_in_a_module_is_caught() {
    let engine = engine();
    let roof = arrows::roof(engine.modules.last().unwrap());
    for (top, _) in LAYERS {
        assert_eq!(wrong_arrows(&with(top, ""), &roof), [""; 0], "{top} is clean before");
        let Some(up) = forbidden(top) else {
            assert_eq!(*top, "fuzzing", "only the highest module has nothing above it");
            continue;
        };
        // Behind all that the file holds, its tests included.
        let code: Vec<_> = WAYS.iter().map(|way| way.replace("UP", up)).collect();
        assert_eq!(wrong_arrows(&with(top, &code.join("\n")), &roof).len(), 1, "{top}");
        for way in &code {
            assert_eq!(wrong_arrows(&alone(&[top], way), &roof).len(), 1, "{top}: {way}");
            assert_eq!(wrong_arrows(&alone(&[top, "below"], way), &roof).len(), 1, "{top}: {way}");
        }
        for (below, way) in BY_SUPER {
            let path: Vec<&str> = std::iter::once(*top).chain(below.iter().copied()).collect();
            let way = way.replace("UP", up);
            assert_eq!(wrong_arrows(&alone(&path, &way), &roof).len(), 1, "{top}: {way}");
        }
        let code: Vec<_> = ALLOWED.iter().map(|way| way.replace("UP", up)).collect();
        assert_eq!(wrong_arrows(&with(top, &code.join("\n")), &roof), [""; 0], "{top}");
    }
}

/// A name that the root re-exports belongs to the module from which it comes.
#[test]
fn an_arrow_up_through_the_root_is_caught() {
    let engine = engine();
    let roof = arrows::roof(engine.modules.last().unwrap());
    for code in [
        "use crate::Repository;",
        "use crate::{Error, WriteSession};",
        "fn planted(x: crate::WriteSession) {}",
        "use crate::*;",
        "use crate as up;",
    ] {
        assert!(!wrong_arrows(&alone(&["map"], code), &roof).is_empty(), "{code}");
    }
    assert_eq!(wrong_arrows(&alone(&["map"], "use crate::{Error, Key};"), &roof), [""; 0]);
}

#[test]
fn a_module_without_a_layer_is_caught() {
    let module = Module::parse(&["newcomer"], Path::new("src/newcomer.rs"), "fn f() {}");
    assert!(!wrong_arrows(&module, &Roof::new()).is_empty());
    assert!(!wrong_arrows(&alone(&["map"], "use crate::newcomer::X;"), &Roof::new()).is_empty());
}

#[test]
fn a_crate_that_is_planted_outside_its_home_is_caught() {
    for (name, homes) in CONFINED {
        for (top, _) in LAYERS.iter().filter(|(top, _)| !homes.contains(top)) {
            for way in ["use NAME::X;", "use NAME as x;", "fn f() { NAME::f(); }", "use {std::fmt, NAME::X};", "fn f() { m!(::NAME::f()) }"]
            {
                assert!(!wrong_crates(&alone(&[top], &way.replace("NAME", name))).is_empty(), "{top}: {way} of {name}");
            }
        }
    }
    for way in [
        "use std::fs;",
        "use std::{fs, io};",
        "fn f() { std::fs::read(p); }",
        "use tokio::io;",
        "async fn f() {}",
        "use std::{io, net::X};",
    ] {
        for top in PURE {
            assert!(!wrong_crates(&alone(&[top], way)).is_empty(), "{top}: {way}");
        }
        assert!(wrong_crates(&alone(&["storage"], way)).is_empty(), "{way}");
    }
}

#[test]
fn names_of_objects_and_replaces_and_removals_that_are_planted_are_caught() {
    for (top, _) in LAYERS {
        for folder in FOLDERS {
            for way in ["const X: &str = \"FOLDER\";", "fn f() { format!(\"FOLDER{x}\"); }"] {
                assert!(!spelled_names(&alone(&[top, "below"], &way.replace("FOLDER", folder))).is_empty(), "{top}: {folder}");
            }
        }
        let found = replaces(&alone(&[top, "below"], "fn f() { s.replace(&name, &e(1, 2), value) }"));
        assert_eq!(found.is_empty(), matches!(*top, "refs" | "storage"), "{top}");
        assert!(replaces(&alone(&[top, "below"], "fn f() { s.replace(\"a\", \"b\"); mem::replace(x, y,); }")).is_empty());
        let found = removes(&alone(&[top, "below"], "fn f() { s.delete_many(&names) }"));
        assert_eq!(found.is_empty(), *top == "storage", "{top}");
    }
}
