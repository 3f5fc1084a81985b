//! Objects of earlier at-rest versions: read for ever, and linked by what is written today.
//!
//! What each repository below `data/` proves is registered in `data/README.md`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use firnline::{Entry, OpenOptions, Prefix, Repository, Snapshot, Timestamp, VerifyScope};
use futures::TryStreamExt;

use crate::support::{TestClock, key};

/// The at-rest version that is written today.
const WRITTEN: u8 = 2;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

/// How many objects of each at-rest version lie in a repository on local disk.
fn versions(place: &Path) -> [usize; 3] {
    let mut found = [0; 3];
    for map in ["snapshots", "manifests", "files", "history"] {
        for folder in std::fs::read_dir(place.join(map)).unwrap() {
            for object in std::fs::read_dir(folder.unwrap().path()).unwrap() {
                let bytes = std::fs::read(object.unwrap().path()).unwrap();
                found[usize::from(bytes[9])] += 1;
            }
        }
    }
    found
}

/// What the ids alone would not notice: that every entry is what was set.
async fn is_the_import(snapshot: &Snapshot) {
    let text = async |k: &str| String::from_utf8(snapshot.get(&key(k)).await.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(text("zarr.json").await, r#"{"zarr_format":3,"node_type":"group"}"#);
    for i in 0..4 {
        assert_eq!(text(&format!("air/c/{i}")).await, format!("chunk {i} ").repeat(150));
    }
    let entries: Vec<_> = snapshot.list(&Prefix::new("sst").unwrap()).try_collect().await.unwrap();
    assert_eq!(entries.len(), 2400);
    for (n, (k, entry)) in (0..).zip(&entries) {
        assert_eq!(k.as_str(), format!("sst/c/{}/{}/{}", n / 100, n % 100 / 10, n % 10));
        let Entry::Virtual { file, offset, length } = entry else { panic!("{k} is {entry:?}") };
        assert_eq!(file.args().collect::<Vec<_>>(), [format!("sst/{:03}.nc", n / 600)]);
        assert_eq!((*offset, *length), (4096 + n % 600 * 1000 + n / 600 * (n % 7), 903 + n * n % 97), "{k}");
    }
    let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    assert_eq!(files.iter().map(|file| file.record.refs).collect::<Vec<_>>(), [600; 4]);
    let sum: u64 = (0..600).map(|n| 903 + n * n % 97).sum();
    assert_eq!((files[0].url.as_str(), files[0].record.bytes), ("s3://reanalysis/sst/000.nc", sum));
}

async fn revisions(repository: &Repository) -> Vec<String> {
    let snapshot = repository.read("main").await.unwrap();
    let log: Vec<_> = snapshot.log().try_collect().await.unwrap();
    log.into_iter().map(|line| line.summary).collect()
}

#[tokio::test]
async fn a_repository_of_at_rest_version_1_is_read_and_written_on() {
    let data: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/engine/data/at-rest-1"].iter().collect();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("repository");
    copy(&data, &place);
    let old = versions(&place);
    assert_eq!((old[2], old[1] > 30), (0, true), "{old:?}");
    let noon = Timestamp::from_micros(1_795_435_200_000_000);
    let clock = std::sync::Arc::new(TestClock::at(noon));
    let options = OpenOptions::default().clock(clock.clone()).without_pauses();
    let repository = Repository::open_with(place.to_str().unwrap(), options.clone()).await.unwrap();

    assert_eq!(repository.verify(VerifyScope::Everything).await.unwrap().findings, []);
    let tip = repository.read("main").await.unwrap();
    assert_eq!(tip.id().to_string(), "bafyreigohxo4vdnib2275zomassnvgpl3gsdp3ekq7nwtf4fdooenh67gy");
    assert_eq!(tip.get(&key("attributes/revision")).await.unwrap().unwrap().as_ref(), b"revision 6\n");
    assert_eq!(tip.get(&key("air/c/0")).await.unwrap(), None);
    is_the_import(&repository.read("first").await.unwrap()).await;
    is_the_import(&repository.read("main@2026-11-22T02:21:09.753921Z").await.unwrap()).await;
    let mut log: Vec<String> = (1..=6).rev().map(|n| format!("Revision {n}")).collect();
    log.extend(["Drop air", "Import two arrays", "an empty repository"].map(str::to_owned));
    assert_eq!(revisions(&repository).await, log);

    let mut session = repository.write("main").await.unwrap();
    session.set_virtual(&key("sst/c/12/3/4"), "s3://reanalysis/sst/002.nc", 7..11).await.unwrap();
    session.commit("Point elsewhere").await.unwrap();
    clock.advance(Duration::from_secs(1));

    let again = Repository::open_with(place.to_str().unwrap(), options).await.unwrap();
    let new = versions(&place);
    assert_eq!(new[1], old[1], "nothing old was written anew: {new:?}");
    assert!(new[usize::from(WRITTEN)] >= 5, "a leaf, a root, files, history and a snapshot: {new:?}");
    assert_eq!(again.verify(VerifyScope::Everything).await.unwrap().findings, []);
    let entry = again.read("main").await.unwrap().entry(&key("sst/c/12/3/4")).await.unwrap();
    assert!(matches!(entry, Some(Entry::Virtual { offset: 7, length: 4, .. })), "{entry:?}");
    log.insert(0, "Point elsewhere".to_owned());
    assert_eq!(revisions(&again).await, log);
    is_the_import(&again.read("main~8").await.unwrap()).await;
}
