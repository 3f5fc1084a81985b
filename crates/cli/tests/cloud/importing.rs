//! Imports of objects that lie in a bucket, from every store.

use firnline::storage::{CloudOptions, Credentials};
use firnline::{CreateOptions, ErrorKind, ImportCache, ImportSource, Key, OpenOptions, Prefix, Repository, TreeOptions};
use futures::TryStreamExt as _;

use super::servers::Place;

/// The chunks of a repository are the objects: each name ends in the id of its bytes.
async fn imports_from(place: Place) {
    let stored = Repository::create_with(&place.url, CreateOptions::from(OpenOptions::default().cloud(place.options()))).await.unwrap();
    let session = stored.write("main").await.unwrap();
    let large = 10 << 20;
    for (number, size) in [2000, 5000, 70_000, large].into_iter().enumerate() {
        session.set(&Key::new(format!("k{number}")).unwrap(), vec![u8::try_from(number).unwrap(); size]).await.unwrap();
    }
    session.commit("objects").await.unwrap();

    let cache = tempfile::tempdir().unwrap();
    let repository = Repository::create("memory:").await.unwrap();
    let options = TreeOptions::default().prefix(Prefix::new("in").unwrap()).cache(ImportCache::new(cache.path()));
    let source = ImportSource::open(&format!("{}/chunks", place.url), &place.options()).unwrap();
    let session = repository.write("main").await.unwrap();
    let found = session.import(&source, &options).await.unwrap();
    assert_eq!((found.files, found.added), (4, 4));
    let snapshot = session.commit("import").await.unwrap();
    options.cache.as_ref().unwrap().keep().await.unwrap();
    let entries: Vec<_> = snapshot.list(&Prefix::all()).try_collect().await.unwrap();
    for (key, entry) in &entries {
        let value = snapshot.get(key).await.unwrap().unwrap();
        let id = key.as_str().rsplit('/').next().unwrap();
        assert_eq!(value.len() as u64, entry.size());
        if value.len() <= 1 << 20 {
            assert!(format!("{entry:?}").contains(id), "{key} has the bytes that its name says: {entry:?}");
        }
    }
    assert_eq!(entries.len(), 4);

    let again = repository.write("main").await.unwrap().import(&source, &options).await.unwrap();
    assert_eq!((again.files, again.skipped, again.bytes_read), (4, 4, 0), "each store tells strong ETags");

    let whole = ImportSource::open(&place.url, &place.options()).unwrap();
    let refused = repository.write("main").await.unwrap().import(&whole, &TreeOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("is a Firnline repository"), "{refused}");

    let elsewhere = ImportSource::open(&format!("{}/none", place.url), &place.options()).unwrap();
    let nothing = repository.write("main").await.unwrap().import(&elsewhere, &TreeOptions::default()).await.unwrap();
    assert_eq!(nothing.files, 0);
}

macro_rules! imports {
    ($($name:ident => $place:expr),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let Some(place) = ($place)(stringify!($name)) else { return };
            imports_from(place).await;
        })*
    };
}
imports! {
    objects_are_imported_from_ceph => Place::ceph,
    objects_are_imported_from_moto => Place::moto,
    objects_are_imported_from_azurite => Place::azurite,
    objects_are_imported_from_our_gcs => |_| Some(Place::our_gcs()),
    objects_are_imported_from_our_s3 => |_| Some(Place::our_s3()),
}

#[tokio::test]
async fn a_place_that_cannot_be_imported_says_why() {
    let anonymous = CloudOptions::default().credentials(Credentials::Anonymous);
    for (place, kind) in [
        ("https://example.org/data", ErrorKind::Unsupported),
        ("memory:", ErrorKind::Invalid),
        ("s3:bucket", ErrorKind::Invalid),
        ("ftp://example.org/data", ErrorKind::Invalid),
        ("", ErrorKind::Invalid),
    ] {
        assert_eq!(ImportSource::open(place, &anonymous).unwrap_err().kind(), kind, "{place}");
    }
    let denied = ImportSource::open("s3://bucket/data", &CloudOptions::default()).unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied);
}
