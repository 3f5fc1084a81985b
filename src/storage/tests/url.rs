use std::path::PathBuf;

use crate::ErrorKind;
use crate::storage::cloud::place::{CloudPlace, StoreScheme};
use crate::storage::url::StoragePlace;
use crate::storage::{CloudOptions, LocalOptions, open};

#[test]
fn places_are_understood() {
    let directory = |path: &str| StoragePlace::Directory(PathBuf::from(path));
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
        ("memory:", StoragePlace::Memory),
        ("memory://", StoragePlace::Memory),
    ] {
        assert_eq!(StoragePlace::parse(text).unwrap(), place, "{text}");
    }
}

#[test]
fn places_in_object_stores_are_understood() {
    for (text, scheme, bucket, prefix, shown) in [
        ("s3://bucket/a prefix/%20/", StoreScheme::S3, "bucket", "a prefix/%20", "s3://bucket/a prefix/%20"),
        ("GS://b.c_d-e", StoreScheme::Gs, "b.c_d-e", "", "gs://b.c_d-e"),
        ("az://c/", StoreScheme::Az, "c", "", "az://c"),
        ("https://host:8/a%20b/", StoreScheme::Http, "https://host:8/a%20b", "", "https://host:8/a%20b"),
        ("http://host", StoreScheme::Http, "http://host", "", "http://host"),
    ] {
        let place = CloudPlace { scheme, bucket: bucket.to_owned(), prefix: prefix.to_owned() };
        assert_eq!(place.to_string(), shown);
        assert_eq!(StoragePlace::parse(text).unwrap(), StoragePlace::Cloud(place), "{text}");
    }
}

#[test]
fn bytes_that_are_not_utf8_make_a_path_too() {
    use std::os::unix::ffi::OsStrExt as _;
    let StoragePlace::Directory(path) = StoragePlace::parse("file:///%ff").unwrap() else { unreachable!() };
    assert_eq!(path.as_os_str().as_bytes(), b"/\xff");
}

/// One rule with external files: decoded, and the literal spelling where only that exists.
#[test]
fn a_file_url_is_decoded_unless_only_its_literal_path_exists() {
    let base = tempfile::tempdir().unwrap();
    let parsed = |name: &str| StoragePlace::parse(&format!("file://{}/{name}", base.path().display())).unwrap();
    let directory = |name: &str| StoragePlace::Directory(base.path().join(name));
    assert_eq!(parsed("my%20repo"), directory("my repo"), "neither exists yet");
    std::fs::create_dir(base.path().join("my%20repo")).unwrap();
    assert_eq!(parsed("my%20repo"), directory("my%20repo"));
    std::fs::create_dir(base.path().join("my repo")).unwrap();
    assert_eq!(parsed("my%20repo"), directory("my repo"));
    assert_eq!(parsed("100%"), directory("100%"));
}

#[test]
fn what_is_no_place_says_so() {
    for (text, kind) in [
        ("", ErrorKind::Invalid),
        ("a\0b", ErrorKind::Invalid),
        ("s3:bucket", ErrorKind::Invalid),
        ("s3:///prefix", ErrorKind::Invalid),
        ("s3://secret@bucket/prefix", ErrorKind::Invalid),
        ("s3://bucket:80/prefix", ErrorKind::Invalid),
        ("s3://bucket//prefix", ErrorKind::Invalid),
        ("gs://bucket/a/../b", ErrorKind::Invalid),
        ("az://c/a\nb", ErrorKind::Invalid),
        ("https://user:secret@host/", ErrorKind::Invalid),
        ("https://host/a?sig=secret", ErrorKind::Invalid),
        ("http:host", ErrorKind::Invalid),
        ("http:///a", ErrorKind::Invalid),
        ("ftp://host/", ErrorKind::Invalid),
        ("odd:name", ErrorKind::Invalid),
        ("memory:name", ErrorKind::Invalid),
        ("file://host/a", ErrorKind::Invalid),
        ("file:relative", ErrorKind::Invalid),
        ("file://", ErrorKind::Invalid),
        ("file:///a?b", ErrorKind::Invalid),
        ("file:///a#b", ErrorKind::Invalid),
        ("file:///a%00", ErrorKind::Invalid),
    ] {
        let error = StoragePlace::parse(text).unwrap_err();
        assert_eq!(error.kind(), kind, "{text}: {error}");
        assert!(!error.to_string().contains("secret") && !error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn opening_creates_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let place = parent.path().join("not there");
    let url = format!("file://{}", place.to_str().unwrap().replace(' ', "%20"));
    assert_eq!(open(&url, LocalOptions::default(), &CloudOptions::default()).unwrap().to_string(), format!("local {}", place.display()));
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}
