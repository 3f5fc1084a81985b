//! Questions about external files and content ids, asked of a snapshot.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use futures::TryStreamExt as _;

use crate::storage::Memory;
use crate::testing::calculator;
use crate::{Access, CreateOptions, FileState, Key, OpenOptions, Prefix, Repository, TreeOptions, file_url};

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
    let session = repository.write("main").await.unwrap();
    session.set_virtual(&Key::new("a").unwrap(), &url, 2..6).await.unwrap();
    let snapshot = session.commit("one file").await.unwrap();
    let found: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    let [dependency] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(snapshot.check_dependency(dependency).await.unwrap().state(), FileState::Unchanged);

    let nobody = Repository::open_storage(storage, OpenOptions::default()).await.unwrap().read("main").await.unwrap();
    assert_eq!(nobody.check_dependency(dependency).await.unwrap().state(), FileState::Denied);

    fs::write(&file, b"0123456789 and more").unwrap();
    let state = snapshot.check_dependency(dependency).await.unwrap();
    assert_eq!(state.state(), FileState::Changed);
    assert!(state.problem().unwrap().to_string().contains("a.nc"), "{state:?}");
    fs::remove_file(&file).unwrap();
    assert_eq!(snapshot.check_dependency(dependency).await.unwrap().state().word(), "missing");
}

/// `format_v1.py tree DIR` calculates the root of a directory from the text of the format alone.
#[tokio::test]
async fn the_content_id_of_a_prefix_is_what_the_calculator_gives_its_directory() {
    let Some((python, tools)) = calculator("the_content_id_of_a_prefix_is_what_the_calculator_gives_its_directory") else { return };
    let place = tempfile::tempdir().unwrap();
    for n in 0..3000_u32 {
        let (row, column) = (n / 100, n % 100);
        let file = place.path().join(format!("air/c/{row}/{column}"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, vec![b'v'; (n as usize * 7) % 2500]).unwrap();
    }
    fs::write(place.path().join("air/zarr.json"), vec![b' '; 4096]).unwrap();
    fs::write(place.path().join("large"), vec![1; 3 << 20]).unwrap();
    let out = Command::new(python).arg(tools.join("format_v1.py")).arg("tree").arg(place.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();

    let repository = Repository::create("memory:").await.unwrap();
    let session = repository.write("main").await.unwrap();
    session.set(&Key::new("before").unwrap(), "x").await.unwrap();
    for prefix in ["one", "deeper/one 2"] {
        let options = TreeOptions::default().prefix(Prefix::new(prefix).unwrap());
        session.import_tree(place.path(), &options).await.unwrap();
    }
    let snapshot = session.commit("the same twice").await.unwrap();
    for prefix in ["one", "deeper/one 2"] {
        let id = snapshot.content_id(&Prefix::new(prefix).unwrap()).await.unwrap();
        assert_eq!(id.to_string(), told["root"].as_str().unwrap(), "{prefix}");
    }
}

/// The loop over the references ran on the executor's thread, about 0.1 µs for each: a minute for 5·10^8 of them.
#[test]
fn many_references_are_written_beside_the_executor() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let repository = Repository::create("memory:").await.unwrap();
        let session = repository.write("main").await.unwrap();
        let count = 300_000;
        let (url, offset, length): (Vec<u32>, Vec<u64>, Vec<u64>) = (vec![0; count], (0..count as u64).collect(), vec![1; count]);
        let validator = [Some(crate::Validator::staged_at(crate::Timestamp::from_micros(1)))];
        let steps = 0..count as u64;
        let refs = crate::VirtualRefs {
            keys: crate::KeyColumn::Grid { prefix: "a/c/", region: std::slice::from_ref(&steps), separator: '/' },
            urls: &["https://example.org/a.nc"],
            url: &url,
            offset: &offset,
            length: &length,
            validators: &validator,
        };
        let (release, busy) = std::sync::mpsc::channel::<()>();
        let holds = tokio::task::spawn_blocking(move || busy.recv().is_err());
        let options = crate::VirtualOptions::default();
        {
            let mut staging = std::pin::pin!(session.set_virtual_many(&refs, &options));
            for _ in 0..100 {
                // The one thread that may block is busy, so the references wait for it.
                assert!(futures::poll!(&mut staging).is_pending());
                tokio::task::yield_now().await;
            }
        }
        assert!(session.list(&Prefix::all()).await.unwrap().is_empty(), "a call that is dropped stages nothing");
        drop(release);
        assert!(holds.await.unwrap());
        session.set_virtual_many(&refs, &options).await.unwrap();
        assert_eq!(session.list(&Prefix::all()).await.unwrap().len(), count);
    });
}
