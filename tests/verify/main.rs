//! Verification of a repository on local disk, whole and then damaged in every way a disk damages.

#![cfg(test)]

mod damages;
mod decoders;
#[path = "../support/mod.rs"]
mod limits;
#[path = "../fuzz/src/seeds.rs"]
mod seeds;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use firnline::{Finding, FindingKind, Key, Repository, SnapshotId, VerifyScope};

const MIB: usize = 1 << 20;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn bytes(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |state: &mut u32| {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next(&mut state)).collect()
}

/// Four commits, a tag, a branch moved often enough that its moves fill a block, and data of every kind.
async fn filled(place: &Path) -> Repository {
    let repository = Repository::create(place.to_str().unwrap()).await.unwrap();
    let session = repository.write("main").await.unwrap();
    for i in 0..3000_u32 {
        session.set(&key(&format!("many/{i}")), i.to_le_bytes().repeat(8)).await.unwrap();
    }
    session.set(&key("chunk/one"), bytes(1, 5000)).await.unwrap();
    session.set(&key("chunk/large"), bytes(2, 2 * MIB + 9)).await.unwrap();
    let first = session.commit("one").await.unwrap();
    for round in 0..3_u32 {
        let session = repository.write("main").await.unwrap();
        session.set(&key(&format!("chunk/{round}")), bytes(10 + round, 3000)).await.unwrap();
        for i in 0..400_u64 {
            let url = format!("file:///data/{round}/{}.nc", i / 2);
            session.set_virtual(&key(&format!("v/{round}/{i}")), &url, i * 10..i * 10 + 7).await.unwrap();
        }
        session.commit(format!("round {round}").as_str()).await.unwrap();
    }
    let tip = repository.read("main").await.unwrap();
    repository.create_tag(&"v1".parse().unwrap(), &first, "").await.unwrap();
    repository.create_branch(&"moved".parse().unwrap(), &first).await.unwrap();
    for turn in 0..20 {
        repository.reset(&"moved".parse().unwrap(), if turn % 2 == 0 { &tip } else { &first }).await.unwrap();
    }
    repository
}

fn objects(root: &Path, folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root.join(folder)];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { todo.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

async fn findings(repository: &Repository) -> Vec<Finding> {
    repository.verify(VerifyScope::Everything).await.unwrap().findings
}

/// Every finding must be about `name`, and there must be one.
fn only_about(found: &[Finding], name: &str, kind: FindingKind) {
    assert!(!found.is_empty(), "{name}: nothing found");
    for finding in found {
        assert_eq!(finding.object, name, "{finding}");
        assert_eq!(finding.kind, kind, "{finding}");
    }
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[tokio::test]
async fn what_is_whole_has_no_findings() {
    let folder = tempfile::tempdir().unwrap();
    let repository = filled(folder.path()).await;
    let all = repository.verify(VerifyScope::Everything).await.unwrap();
    assert_eq!(all.findings, []);
    assert_eq!((all.found, all.refs, all.snapshots, all.chunks), (0, 3, 5, 5));
    assert_eq!(all.bytes, (5000 + 2 * MIB + 9 + 3 * 3000) as u64);
    // Each stored node is reached, and none is read twice.
    let stored: usize = ["manifests", "files", "history"].iter().map(|kind| objects(folder.path(), kind).len()).sum();
    assert_eq!(all.nodes, stored as u64);
    let one = repository.verify(VerifyScope::Revision(repository.read("main~2").await.unwrap())).await.unwrap();
    assert_eq!(one.findings, []);
    assert_eq!((one.refs, one.snapshots, one.chunks), (0, 3, 3));
}

#[tokio::test]
async fn every_kind_of_object_is_missed_and_every_damage_seen() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let repository = filled(root).await;
    let mut kinds = BTreeSet::new();
    for kind in ["snapshots", "manifests", "files", "history", "chunks", "moves"] {
        let all = objects(root, kind);
        assert!(!all.is_empty(), "{kind}");
        for path in all.iter().step_by(all.len().div_ceil(12)) {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            let whole = fs::read(path).unwrap();
            fs::remove_file(path).unwrap();
            let found = findings(&repository).await;
            only_about(&found, name, FindingKind::Missing);
            assert!(kind == "moves" || !found[0].versions.is_empty(), "{}", found[0]);
            for at in [0, whole.len() / 2, whole.len() - 1] {
                let mut bad = whole.clone();
                bad[at] ^= 0x10;
                fs::write(path, &bad).unwrap();
                let found = findings(&repository).await;
                only_about(&found, name, FindingKind::Corrupt);
                kinds.insert((kind, !found[0].keys.is_empty()));
            }
            fs::write(path, &whole[..whole.len() - 1]).unwrap();
            only_about(&findings(&repository).await, name, FindingKind::Corrupt);
            fs::write(path, &whole).unwrap();
        }
    }
    // A list of changed keys may be absent, and a damaged one is found like anything else.
    for path in objects(root, "changes") {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(findings(&repository).await, []);
        for at in [0, 40, whole.len() / 2, whole.len() - 1] {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            only_about(&findings(&repository).await, name, FindingKind::Corrupt);
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        only_about(&findings(&repository).await, name, FindingKind::Corrupt);
        fs::write(&path, vec![0; 300 << 10]).unwrap();
        only_about(&findings(&repository).await, name, FindingKind::Corrupt);
        fs::write(&path, &whole).unwrap();
    }
    assert!(objects(root, "changes").len() >= 3);
    // Chunks always name keys, nodes of maps when they are not roots.
    assert!(kinds.contains(&("chunks", true)) && !kinds.contains(&("chunks", false)));
    assert!(kinds.contains(&("manifests", true)) && kinds.contains(&("files", true)));
    assert_eq!(findings(&repository).await, []);
}

/// A directory under the name of a block of earlier moves, or of a shallow version's marker or history, ended the whole verification with an
/// error: what was to tell loss from damage let the same damage escape.
#[tokio::test]
async fn a_directory_in_the_place_of_an_object_is_a_finding_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let repository = filled(root).await;
    let source = tempfile::tempdir().unwrap();
    let other = filled(source.path()).await;
    let mut car = Vec::new();
    other.read("main").await.unwrap().export_car(&mut car).await.unwrap();
    repository.import_car(car.as_slice(), firnline::ImportTarget::Branch("copy".parse().unwrap())).await.unwrap();
    assert_eq!(findings(&repository).await, []);
    for kind in ["snapshots", "manifests", "files", "history", "chunks", "moves", "shallow", "changes"] {
        for path in objects(root, kind).iter().take(8) {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            let whole = fs::read(path).unwrap();
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            only_about(&findings(&repository).await, name, FindingKind::Corrupt);
            fs::remove_dir(path).unwrap();
            fs::write(path, &whole).unwrap();
        }
    }
    // The map that a shallow version names is not here. A damaged object under its name is reported.
    let history = repository.read("copy").await.unwrap().record().history.to_string();
    let place = root.join("history").join(&history[8..10]);
    fs::create_dir_all(place.join(&history)).unwrap();
    let found = findings(&repository).await;
    only_about(&found, &format!("history/{}/{history}", &history[8..10]), FindingKind::Corrupt);
    fs::remove_dir(place.join(&history)).unwrap();
    assert_eq!(findings(&repository).await, []);
}

#[tokio::test]
async fn a_finding_names_all_keys_and_versions_of_a_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let repository = filled(folder.path()).await;
    let firnline::Entry::Chunk { id, .. } = repository.read("main").await.unwrap().entry(&key("chunk/one")).await.unwrap().unwrap() else {
        panic!("chunk/one is stored as a chunk");
    };
    let path = objects(folder.path(), "chunks").into_iter().find(|path| path.ends_with(id.to_string())).unwrap();
    fs::remove_file(path).unwrap();
    let found = findings(&repository).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].keys, ["chunk/one"]);
    let mut versions = found[0].versions.clone();
    versions.sort();
    let mut holding: Vec<SnapshotId> = Vec::new();
    for back in 0..4 {
        holding.push(repository.read(&format!("main~{back}")).await.unwrap().id());
    }
    holding.sort();
    assert_eq!(versions, holding);
    // A version that does not hold it is as it should be.
    let before = repository.verify(VerifyScope::Revision(repository.read("main~4").await.unwrap())).await.unwrap();
    assert_eq!(before.findings, []);
}

#[tokio::test]
async fn a_damaged_ref_is_a_finding_and_the_others_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let repository = filled(folder.path()).await;
    let path = folder.path().join("refs/tags/v1.json");
    fs::write(&path, b"{}").unwrap();
    let all = repository.verify(VerifyScope::Everything).await.unwrap();
    only_about(&all.findings, "refs/tags/v1.json", FindingKind::Corrupt);
    assert_eq!((all.refs, all.snapshots), (2, 5));
}

#[tokio::test]
async fn an_imported_version_ends_at_a_boundary_and_not_at_a_loss() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let version = filled(source.path()).await.read("main").await.unwrap();
    let mut car = Vec::new();
    version.export_car(&mut car).await.unwrap();
    let repository = Repository::create(target.path().to_str().unwrap()).await.unwrap();
    let name = || firnline::ImportTarget::Branch("copy".parse().unwrap());
    repository.import_car(car.as_slice(), name()).await.unwrap();
    let session = repository.write("copy").await.unwrap();
    session.set(&key("more"), bytes(77, 4000)).await.unwrap();
    let next = session.commit("more").await.unwrap();
    let all = repository.verify(VerifyScope::Everything).await.unwrap();
    assert_eq!(all.findings, []);
    assert_eq!((all.snapshots, all.shallow), (3, vec![version.id()]));
    // Without its mark the same is a loss.
    fs::remove_file(objects(target.path(), "shallow").pop().unwrap()).unwrap();
    let found = findings(&repository).await;
    let mut kinds: Vec<_> = found.iter().map(|finding| (finding.kind, finding.object.split('/').next().unwrap())).collect();
    kinds.sort_by_key(|(_, folder)| *folder);
    assert_eq!(kinds, [(FindingKind::Missing, "history"), (FindingKind::Missing, "snapshots")]);
    assert!(found.iter().all(|finding| !finding.versions.contains(&next.id())));
}
