//! Merges of references: the states of external files and the definitions of containers go with the references that depend on them.

use firnline::{Container, ErrorDetail, ErrorKind, MergeOptions, OnConflict, Snapshot, VirtualOptions};
use futures::TryStreamExt;
use serde_json::json;

use crate::conflicts::array3;
use crate::merging::{is_sound, name};
use crate::support::{World, key};

const FILE: &str = "file:///data/f.nc";

/// A state of a file, told by its size.
fn state(world: &World, size: u64) -> VirtualOptions {
    let mut validator = firnline::Validator::staged_at(firnline::Clock::now(&*world.clock));
    (validator.size, validator.etag) = (Some(size), Some(format!("e{size}").into_bytes()));
    VirtualOptions::default().validator(validator)
}

fn named(error: &firnline::Error) -> Vec<String> {
    match error.detail() {
        Some(ErrorDetail::MergeConflicts { named, more: 0 }) => named.clone(),
        other => panic!("{error}: {other:?}"),
    }
}

/// The bytes that references into [`FILE`] are to, and its size.
async fn recorded(snapshot: &Snapshot) -> (u64, Option<u64>) {
    let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    let file = files.iter().find(|file| file.url == FILE).unwrap();
    (file.record.bytes, file.record.size)
}

/// An array with one reference into a file and one native chunk. `side` reads the file again, which has become another, so the codecs are
/// others, and the reference too if it is `moved`; `main` changes only the native chunk.
async fn read_again(moved: bool) -> World {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("x/zarr.json"), array3(|_| ())).await.unwrap();
    session.set(&key("x/c/1/1"), "native").await.unwrap();
    session.set_virtual_with(&key("x/c/0/0"), FILE, 0..5, &state(&world, 10)).await.unwrap();
    let start = session.commit("start").await.unwrap();
    world.repository.create_branch(&name("side"), &start).await.unwrap();
    let session = world.repository.write("side").await.unwrap();
    session.set(&key("x/zarr.json"), array3(|d| d["codecs"] = json!(["bytes", "zstd"]))).await.unwrap();
    let (at, range) = if moved { ("x/c/0/0", 5..12) } else { ("w", 5..7) };
    session.set_virtual_with(&key(at), FILE, range, &state(&world, 20).repin()).await.unwrap();
    session.commit("read again").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("x/c/1/1"), "changed").await.unwrap();
    session.commit("main").await.unwrap();
    world
}

/// The references of the side whose array stays are to another state of the file than the one that the other side recorded: both cannot be.
#[tokio::test]
async fn an_array_that_stays_does_not_get_the_other_sides_state_of_its_files() {
    for moved in [true, false] {
        for (into, policy, keeps_main) in [
            ("main", OnConflict::Ours, true),
            ("main", OnConflict::Theirs, false),
            ("side", OnConflict::Ours, false),
            ("side", OnConflict::Theirs, true),
        ] {
            let world = read_again(moved).await;
            let theirs = world.repository.read(if into == "main" { "side" } else { "main" }).await.unwrap();
            let merged = world.repository.merge(&name(into), &theirs, MergeOptions::default().on_conflict(policy)).await;
            if keeps_main {
                let refused = merged.map(drop).expect_err(&format!("into {into}, {policy:?}, {moved}"));
                assert_eq!((refused.kind(), named(&refused).len()), (ErrorKind::Conflict, 1), "{refused}");
                assert!(named(&refused)[0].starts_with("file ") && named(&refused)[0].contains("f.nc"), "{refused}");
            } else {
                let merged = merged.unwrap_or_else(|e| panic!("into {into}, {policy:?}, {moved}: {e}")).commit().await.unwrap().snapshot;
                assert_eq!(recorded(&merged).await, (7, Some(20)), "into {into}, {policy:?}, {moved}");
                assert_eq!(merged.get(&key("x/c/1/1")).await.unwrap().unwrap(), "native");
                is_sound(&world.repository).await;
            }
        }
    }
}

/// The same of a container: its new place goes with the new names of the files in it.
#[tokio::test]
async fn an_array_that_stays_does_not_get_the_other_sides_place_of_a_container() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set_container(Container::new("nemo", "file:///data/{}")).unwrap();
    session.set(&key("x/zarr.json"), array3(|_| ())).await.unwrap();
    session.set(&key("x/c/1/1"), "native").await.unwrap();
    session.set_virtual_with(&key("x/c/0/0"), "file:///data/1.nc", 0..5, &state(&world, 10)).await.unwrap();
    let start = session.commit("start").await.unwrap();
    world.repository.create_branch(&name("side"), &start).await.unwrap();
    let session = world.repository.write("side").await.unwrap();
    session.set_container(Container::new("nemo", "file:///new/{}")).unwrap();
    session.set(&key("x/zarr.json"), array3(|d| d["codecs"] = json!(["bytes", "zstd"]))).await.unwrap();
    session.set_virtual_with(&key("x/c/0/0"), "file:///new/one.nc", 0..5, &state(&world, 10)).await.unwrap();
    session.commit("elsewhere").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("x/c/1/1"), "changed").await.unwrap();
    session.commit("main").await.unwrap();
    let side = world.repository.read("side").await.unwrap();
    let refused = world.repository.merge(&name("main"), &side, MergeOptions::default().on_conflict(OnConflict::Ours)).await.unwrap_err();
    assert_eq!(named(&refused), ["container nemo"], "{refused}");
    let theirs = MergeOptions::default().on_conflict(OnConflict::Theirs);
    let merged = world.repository.merge(&name("main"), &side, theirs).await.unwrap().commit().await.unwrap().snapshot;
    let files: Vec<_> = merged.dependencies().try_collect().await.unwrap();
    assert_eq!(files.iter().map(|file| file.url.as_str()).collect::<Vec<_>>(), ["file:///new/one.nc"]);
    is_sound(&world.repository).await;
}

/// Taking back the first pin of a file leaves it as it was, whether the references were replaced too or not.
#[tokio::test]
async fn a_first_pin_is_taken_back() {
    for range in [0..5, 5..12] {
        let world = World::new().await;
        let session = world.repository.write("main").await.unwrap();
        session.set_virtual(&key("x"), FILE, 0..5).await.unwrap();
        let before = session.commit("not pinned").await.unwrap();
        world.clock.advance(std::time::Duration::from_secs(1));
        let session = world.repository.write("main").await.unwrap();
        session.set_virtual_with(&key("x"), FILE, range.clone(), &state(&world, 20).repin()).await.unwrap();
        let pinned = session.commit("pinned").await.unwrap();
        assert_ne!(pinned.record().files, before.record().files);
        let mut now = pinned.clone();
        for expected in [&before, &pinned] {
            let back = world.repository.revert(&name("main"), &now, MergeOptions::default()).await.unwrap().commit().await.unwrap();
            assert!(back.is_new, "{range:?}");
            now = back.snapshot;
            let maps = |of: &Snapshot| (of.record().manifest, of.record().files);
            assert_eq!(maps(&now), maps(expected), "{range:?}");
        }
        is_sound(&world.repository).await;
    }
}

/// Two states of a file that is new on both sides, of which nothing shows that they are one, are a conflict from either side.
#[tokio::test]
async fn a_file_that_both_sides_recorded_first_is_judged_before_the_commit() {
    let world = World::new().await;
    let start = world.put("start", "1").await;
    let now = firnline::Clock::now(&*world.clock);
    let state = |etag: Option<&str>, version: Option<&str>| {
        let mut validator = firnline::Validator::staged_at(now);
        (validator.etag, validator.version) = (etag.map(|etag| etag.as_bytes().to_vec()), version.map(str::to_owned));
        VirtualOptions::default().validator(validator)
    };
    let pairs = [(state(None, None), state(Some("e"), None)), (state(Some("e"), None), state(None, Some("v")))];
    for (n, (one, two)) in pairs.into_iter().enumerate() {
        let branches = [format!("one{n}"), format!("two{n}")];
        for (branch, options) in branches.iter().zip([one, two]) {
            world.repository.create_branch(&name(branch), &start).await.unwrap();
            let session = world.repository.write(branch).await.unwrap();
            session.set_virtual_with(&key(branch), FILE, 0..5, &options).await.unwrap();
            session.commit("new").await.unwrap();
        }
        for [into, from] in [[0, 1], [1, 0]] {
            let theirs = world.repository.read(&branches[from]).await.unwrap();
            let refused = world.repository.merge(&name(&branches[into]), &theirs, MergeOptions::default()).await.unwrap_err();
            assert!(named(&refused)[0].starts_with("file "), "{refused}");
        }
    }
}

/// A branch takes back the commit that brought the first reference, and its automatic container with it, while another branch adds a
/// reference: nobody disagrees about what the container is. It was a conflict that no policy settles.
#[tokio::test]
async fn an_automatic_container_that_one_side_dropped_comes_back_with_references() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("a"), "native").await.unwrap();
    session.commit("start").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual_with(&key("x"), FILE, 0..5, &state(&world, 10)).await.unwrap();
    let first = session.commit("first reference").await.unwrap();
    world.repository.create_branch(&name("side"), &first).await.unwrap();
    let late = world.repository.write("main").await.unwrap();
    late.set_virtual_with(&key("late"), "file:///data/g.nc", 0..3, &state(&world, 10)).await.unwrap();
    let taken_back = world.repository.revert(&name("main"), &first, "take back").await.unwrap().commit().await.unwrap().snapshot;
    assert_eq!(taken_back.record().containers, []);

    let rebased = late.commit("a session that was open meanwhile").await.unwrap();
    assert_eq!(rebased.record().containers.len(), 1);
    is_sound(&world.repository).await;

    world.repository.reset(&name("main"), &taken_back).await.unwrap();
    let session = world.repository.write("side").await.unwrap();
    session.set_virtual_with(&key("y"), FILE, 5..7, &state(&world, 10)).await.unwrap();
    let side = session.commit("another reference").await.unwrap();
    let merged = world.repository.merge(&name("main"), &side, "merge").await.unwrap().commit().await.unwrap().snapshot;
    assert_eq!(recorded(&merged).await, (2, Some(10)), "only the reference of the other side");
    assert!(merged.get(&key("x")).await.unwrap().is_none());
    is_sound(&world.repository).await;
}
