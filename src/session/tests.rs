//! Questions about external files, asked of a snapshot.

use std::fs;
use std::sync::Arc;

use futures::TryStreamExt as _;

use crate::storage::Memory;
use crate::{Access, CreateOptions, FileState, Key, OpenOptions, Repository, file_url};

#[tokio::test]
async fn a_dependency_is_checked_in_the_name_of_the_reader() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().canonicalize().unwrap().join("a.nc");
    fs::write(&file, b"0123456789").unwrap();
    let url = file_url(&file).unwrap();
    let access = Access::parse([url.trim_end_matches("a.nc")]).unwrap();
    let storage = Arc::new(Memory::new());
    let create = CreateOptions::from(OpenOptions::default().access(access));
    let repository = Repository::create_storage(storage.clone(), create).await.unwrap();
    let mut session = repository.write("main").await.unwrap();
    session.set_virtual(&Key::new("a").unwrap(), &url, 2..6).await.unwrap();
    let snapshot = session.commit("one file").await.unwrap();
    let found: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    let [dependency] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(snapshot.check_dependency(dependency).await.unwrap(), FileState::Unchanged);

    let nobody = Repository::open_storage(storage, OpenOptions::default()).await.unwrap().read("main").await.unwrap();
    assert_eq!(nobody.check_dependency(dependency).await.unwrap().word(), "denied");

    fs::write(&file, b"0123456789 and more").unwrap();
    let state = snapshot.check_dependency(dependency).await.unwrap();
    assert_eq!(state.word(), "changed");
    assert!(state.message().contains("a.nc"), "{}", state.message());
    fs::remove_file(&file).unwrap();
    assert_eq!(snapshot.check_dependency(dependency).await.unwrap().word(), "missing");
}
