//! The one path everybody needs, exactly as `docs/architecture.md` walks it.

use firnline::{Access, Allow, Repository, file_url};
use futures::TryStreamExt;

use crate::support::key;

#[tokio::test]
async fn open_commit_travel_depend_export() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("air.nc");
    std::fs::write(&source, b"0123456789").unwrap();
    let place = folder.path().join("repository");
    let place = place.to_str().unwrap();
    let url = file_url(&source).unwrap();

    Repository::create(place).await.unwrap();
    let allow: Allow = file_url(folder.path()).unwrap().parse().unwrap();
    let options = firnline::OpenOptions::default().access(Access::new([allow]));
    let repository = Repository::open_with(place, options).await.unwrap();

    let session = repository.write("main").await.unwrap();
    session.set(&key("air/zarr.json"), r#"{"zarr_format":3,"node_type":"group"}"#).await.unwrap();
    session.set(&key("air/c/0"), vec![7; 5000]).await.unwrap();
    session.set_virtual(&key("air/c/1"), &url, 2..6).await.unwrap();
    let first = session.commit("January").await.unwrap();

    let session = repository.write("main").await.unwrap();
    session.delete(&key("air/c/0")).await.unwrap();
    session.commit("February").await.unwrap();

    let then = repository.read(&format!("main@{}", first.record().time)).await.unwrap();
    assert_eq!(then.id(), first.id());
    assert_eq!(then.get(&key("air/c/0")).await.unwrap().unwrap(), vec![7; 5000]);
    assert_eq!(then.get(&key("air/c/1")).await.unwrap().unwrap().as_ref(), b"2345");
    assert_eq!(repository.read("main").await.unwrap().get(&key("air/c/0")).await.unwrap(), None);

    let files: Vec<_> = then.dependencies().try_collect().await.unwrap();
    let [file] = files.as_slice() else { panic!("one file, not {files:?}") };
    assert_eq!((file.url.as_str(), file.record.refs, file.record.bytes, file.record.size), (url.as_str(), 1, 4, Some(10)));

    let mut car = Vec::new();
    let summary = then.export_car(&mut car).await.unwrap();
    assert_eq!(summary.bytes, car.len() as u64);
    assert!(summary.blocks >= 4, "a commit, two roots and a chunk at least, not {}", summary.blocks);
}
