use std::path::PathBuf;

use crate::ErrorKind;
use crate::storage::url::Place;
use crate::storage::{LocalOptions, open};

#[test]
fn places_are_understood() {
    let directory = |path: &str| Place::Directory(PathBuf::from(path));
    for (text, place) in [
        ("repo", directory("repo")),
        ("/a b/c%20d", directory("/a b/c%20d")),
        ("./odd:name", directory("./odd:name")),
        ("dir/s3://x", directory("dir/s3://x")),
        ("9p:x", directory("9p:x")),
        ("file:///a%20b/%C3%A9", directory("/a b/é")),
        ("FILE://localhost/a", directory("/a")),
        ("file:/a%2Fb", directory("/a/b")),
        ("file:///", directory("/")),
        ("memory:", Place::Memory),
        ("memory://", Place::Memory),
    ] {
        assert_eq!(Place::parse(text).unwrap(), place, "{text}");
    }
}

#[test]
fn bytes_that_are_not_utf8_make_a_path_too() {
    use std::os::unix::ffi::OsStrExt as _;
    let Place::Directory(path) = Place::parse("file:///%ff").unwrap() else { unreachable!() };
    assert_eq!(path.as_os_str().as_bytes(), b"/\xff");
}

#[test]
fn what_is_no_place_says_so() {
    for (text, kind) in [
        ("", ErrorKind::Invalid),
        ("a\0b", ErrorKind::Invalid),
        ("s3://bucket/prefix", ErrorKind::Unsupported),
        ("GS://bucket", ErrorKind::Unsupported),
        ("az://c", ErrorKind::Unsupported),
        ("https://user:secret@host/", ErrorKind::Unsupported),
        ("ftp://host/", ErrorKind::Invalid),
        ("odd:name", ErrorKind::Invalid),
        ("memory:name", ErrorKind::Invalid),
        ("file://host/a", ErrorKind::Invalid),
        ("file:relative", ErrorKind::Invalid),
        ("file://", ErrorKind::Invalid),
        ("file:///a?b", ErrorKind::Invalid),
        ("file:///a#b", ErrorKind::Invalid),
        ("file:///a%2", ErrorKind::Invalid),
        ("file:///a%zz", ErrorKind::Invalid),
        ("file:///a%00", ErrorKind::Invalid),
    ] {
        let error = Place::parse(text).unwrap_err();
        assert_eq!(error.kind(), kind, "{text}: {error}");
        assert!(!error.to_string().contains("secret") && !error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn opening_creates_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let place = parent.path().join("not there");
    let url = format!("file://{}", place.to_str().unwrap().replace(' ', "%20"));
    assert_eq!(open(&url, LocalOptions::default()).unwrap().to_string(), format!("local {}", place.display()));
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}
