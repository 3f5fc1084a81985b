//! `docs/threat-model.md` and the table of damages in `docs/testing.md` name code and tests: each of them exists.

use std::fs;

use crate::home;

/// The texts between backticks.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// What is wrong with a text that looks like a path of this project, or like a test in one (`tests/x.rs::name`).
fn wrong(text: &str) -> Option<String> {
    let (path, named) = text.split_once("::").map_or((text, None), |(path, named)| (path, Some(named)));
    if path.contains('*') || !["src/", "tests/", "crates/"].iter().any(|start| path.starts_with(start)) {
        return None;
    }
    let place = home().join(path);
    let Some(named) = named else {
        return (!place.exists()).then(|| format!("{path} does not exist"));
    };
    let Ok(source) = fs::read_to_string(&place) else { return Some(format!("{path} cannot be read")) };
    (!source.contains(&format!("fn {named}("))).then(|| format!("{path} has no {named}"))
}

#[test]
fn what_pages_name_exists() {
    for (page, least) in [("docs/threat-model.md", 60), ("docs/testing.md", 20)] {
        let text = fs::read_to_string(home().join(page)).unwrap();
        let named = quoted(&text).filter(|text| text.contains(".rs::")).count();
        assert!(named >= least, "{page} names {named} tests");
        let all: Vec<_> = quoted(&text).filter_map(wrong).collect();
        assert!(all.is_empty(), "{page}:\n{}", all.join("\n"));
    }
}

#[test]
fn what_does_not_exist_is_found() {
    assert_eq!(wrong("tests/layering/threats.rs::what_does_not_exist_is_found"), None);
    assert_eq!(wrong("snapshots/"), None);
    assert!(wrong("tests/layering/threats.rs::another").is_some() && wrong("src/none.rs").is_some() && wrong("src/none.rs::x").is_some());
}
