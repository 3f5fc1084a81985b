use std::time::Instant;

use proptest::prelude::*;

use super::container;
use crate::ErrorKind;
use crate::format::{Container, FileKey};
use crate::virtuals::{Locator, file_path, file_url};

fn args(file: &FileKey) -> Vec<&str> {
    file.args().collect()
}

#[test]
fn the_longest_literal_prefix_wins_and_what_does_not_match_falls_through() {
    let set = [
        container("all", "s3://bucket/{}"),
        container("cmip", "s3://bucket/cmip/{model}/{file}.nc"),
        container("other", "s3://buckets/{}"),
        container("one", "s3://bucket/cmip/special.nc"),
    ];
    let locator = Locator::new(&set).unwrap();
    let named = |url: &str| locator.locate(url).unwrap().file.to_string();
    assert_eq!(named("s3://bucket/x"), "all(x)");
    assert_eq!(named("s3://bucket/cmip/m/f.nc"), "cmip(m, f)");
    assert_eq!(named("s3://bucket/cmip/m/f.grib"), "all(cmip/m/f.grib)");
    assert_eq!(named("s3://bucket/cmip/special.nc"), "one()");
    assert_eq!(named("s3://buckets/x"), "other(x)");
    assert_eq!(locator.locate("s3://bucket/x").unwrap().container, None);
}

#[test]
fn a_tie_is_an_error_that_names_both() {
    let set = [container("left", "s3://b/{}"), container("right", "s3://b/{x}.nc")];
    let locator = Locator::new(&set).unwrap();
    let error = locator.locate("s3://b/a.nc").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("\"left\"") && error.to_string().contains("\"right\""), "{error}");
    assert_eq!(locator.locate("s3://b/a.grib").unwrap().file.to_string(), "left(a.grib)", "only one of them matches");
    assert!(Locator::new(&[container("a", "s3://b/{}"), container("a", "s3://c/{}")]).is_err(), "two of one name");
}

#[test]
fn what_nothing_matches_gets_the_automatic_container() {
    let mut locator = Locator::default();
    for (url, name, template, arg) in [
        ("file:///a/b.nc", "file://", "file:///{}", "a/b.nc"),
        ("s3://bucket/k/e y", "s3://bucket", "s3://bucket/{}", "k/e y"),
        ("gs://b/k?x#y", "gs://b", "gs://b/{}", "k?x#y"),
        ("az://c/k", "az://c", "az://c/{}", "k"),
        ("https://h.org:8443/d/f.nc?v=1", "https://h.org:8443", "https://h.org:8443/{}", "d/f.nc?v=1"),
        ("http://[::1]/x", "http://[::1]", "http://[::1]/{}", "x"),
    ] {
        let located = locator.locate(url).unwrap();
        let new = located.container.expect("nothing is known yet");
        assert_eq!((new.name.as_str(), new.template.as_str()), (name, template));
        assert_eq!((located.file.container(), args(&located.file)), (name, vec![arg]));
        assert_eq!(located.file.url(std::slice::from_ref(&new)).unwrap(), url);
        // Once added it is found, and gives the same name.
        locator.add(&new).unwrap();
        let again = locator.locate(url).unwrap();
        assert_eq!((again.container, again.file), (None, located.file));
    }
}

#[test]
fn a_path_is_taken_literally() {
    let locator = Locator::default();
    for path in ["/with space/a b.nc", "/pct%20/%41/%", "/ünï/日本.nc", "/braces/{x}/{}.nc", "/a?token=b#c", "/back\\slash", "/a@b:c"] {
        let url = format!("file://{path}");
        let located = locator.locate(&url).unwrap();
        assert_eq!(args(&located.file), [&path[1..]]);
        assert_eq!(located.file.url(&[located.container.unwrap()]).unwrap(), url);
    }
}

#[test]
fn a_path_becomes_the_url_that_other_tools_write() {
    let url = |path: &str| file_url(path.as_ref());
    assert_eq!(url("/a//b/./c d%20,\n.nc").unwrap(), "file:///a/b/c%20d%2520%2C%0A.nc");
    assert_eq!(url("/").unwrap(), "file:///");
    for bad in ["a/b", "", "/a/../b"] {
        assert_eq!(url(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
    assert_eq!(file_path("file:///a/b/c%20d%2520%2C%FF").unwrap().as_os_str().as_encoded_bytes(), b"/a/b/c d%20,\xff");
    for bad in ["s3://bucket/a", "/a/b", "file:///", "file:///a/%2e%2e/b"] {
        assert_eq!(file_path(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
}

#[test]
fn names_that_are_too_long_are_refused_clearly() {
    let url = format!("s3://bucket/{}", "k".repeat(4096));
    let error = Locator::default().locate(&url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("at most 4096"), "{error}");
    let fits = format!("s3://bucket/{}", "k".repeat(4096 - "s3://bucket".len() - 1));
    assert!(Locator::default().locate(&fits).is_ok());
}

#[test]
fn a_file_is_named_by_container_and_arguments_only_if_they_come_back() {
    let set = [container("c", "s3://b/{}/{}")];
    let locator = Locator::new(&set).unwrap();
    assert_eq!(locator.file("c", &["a", "b/c"]).unwrap().url(&set).unwrap(), "s3://b/a/b/c");
    for (name, args) in [("c", vec!["a/b", "c"]), ("c", vec!["a"]), ("d", vec!["a"]), ("c", vec!["a", ".."]), ("c", vec!["a", "x?sig=1"])] {
        assert_eq!(locator.file(name, &args).unwrap_err().kind(), ErrorKind::Invalid, "{name} {args:?}");
    }
}

#[test]
fn a_snapshot_that_names_nonsense_is_corrupt() {
    let set = [container("c", "file:///d/{}/{}")];
    for (name, args) in [("c", vec!["a/b", "c"]), ("c", vec!["a"]), ("d", vec!["a"]), ("c", vec!["..", "x"])] {
        let file = FileKey::new(name, args.iter().copied()).unwrap();
        let error = file.url(&set).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{file}");
    }
    let secret = [container("c", "https://user:pass@h/{}")];
    assert_eq!(FileKey::new("c", ["x"]).unwrap().url(&secret).unwrap_err().kind(), ErrorKind::Corrupt);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::testing::property_cases(5_000)))]

    #[test]
    fn the_index_finds_what_trying_every_container_finds(
        prefixes in prop::collection::btree_set("[ab]{0,4}", 0..8), url in "[ab]{1,7}",
    ) {
        let set: Vec<Container> = prefixes.iter().map(|p| container(&format!("c-{p}"), &format!("s3://b/{p}{{}}"))).collect();
        let located = Locator::new(&set).unwrap().locate(&format!("s3://b/{url}")).unwrap();
        match prefixes.iter().filter(|p| url.starts_with(p.as_str())).max_by_key(|p| p.len()) {
            Some(best) => prop_assert_eq!(located.file.to_string(), format!("c-{}({})", best, &url[best.len()..])),
            None => prop_assert!(located.container.is_some()),
        }
    }

    #[test]
    fn whatever_is_located_leads_back(url in "(s3://b/|file:///|https://h/)[a-c{}%/.?=&# é]{1,12}") {
        let set = [container("t", "s3://b/a{}b{}"), container("f", "file:///a/{}.c")];
        if let Ok(located) = Locator::new(&set).unwrap().locate(&url) {
            let containers: Vec<Container> = set.into_iter().chain(located.container).collect();
            prop_assert_eq!(located.file.url(&containers).unwrap(), url);
        }
    }

    #[test]
    fn no_text_makes_locating_panic(url in "\\PC{0,30}|(s3|file|http)://[@:/.?#%=]{0,12}") {
        let _ = Locator::default().locate(&url);
    }
}

/// A ratio, since the machine may be busy: what it catches is a search that tries every container.
#[test]
fn locating_is_as_cheap_among_many_containers_as_among_few() {
    let among = |containers: usize| {
        let set: Vec<Container> =
            (0..containers).map(|i| container(&format!("c{i}"), &format!("s3://bucket-{i}/data/{{}}/{{}}.nc"))).collect();
        let locator = Locator::new(&set).unwrap();
        let urls: Vec<String> = (0..20_000).map(|i| format!("s3://bucket-{}/data/model/file-{i}.nc", i % containers)).collect();
        // The best of several runs is the least disturbed one.
        let runs = (0..5).map(|_| {
            let start = Instant::now();
            let bytes: usize = urls.iter().map(|url| locator.locate(url).unwrap().file.as_map_key().as_str().len()).sum();
            assert!(bytes > 0);
            start.elapsed()
        });
        runs.min().unwrap()
    };
    let (few, many) = (among(4), among(4_000));
    assert!(many < few * 50, "{few:?} among 4, {many:?} among 4,000");
}
