//! External files and their containers in sessions that are forked and merged.

use firnline::{Access, Container, WriteSession};
use futures::TryStreamExt as _;

use crate::forks::{changes_of, refused};
use crate::support::{World, key};

#[tokio::test]
async fn references_bring_their_files_and_containers() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set_container(Container::new("early", "file:///early/{}")).unwrap();
    session.set_virtual(&key("v/0"), "file:///early/a.nc", 0..10).await.unwrap();
    let one = changes_of(&world, &session, async |fork| {
        fork.set_virtual(&key("v/1"), "file:///early/a.nc", 10..20).await.unwrap();
        fork.set_virtual(&key("v/2"), "file:///other/b.nc", 0..5).await.unwrap();
    })
    .await;
    let two = changes_of(&world, &session, async |fork| {
        fork.set_container(Container::new("late", "file:///late/{}")).unwrap();
        fork.set_virtual(&key("v/3"), "file:///late/c.nc", 0..7).await.unwrap();
        fork.set_virtual(&key("v/4"), "file:///other/b.nc", 5..9).await.unwrap();
    })
    .await;
    session.merge(&one).await.unwrap();
    session.merge(&two).await.unwrap();
    let snapshot = session.commit("references").await.unwrap();
    let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    let found: Vec<_> = files.iter().map(|file| (file.url.as_str(), file.record.refs, file.record.bytes)).collect();
    assert_eq!(found, [("file:///early/a.nc", 2, 20), ("file:///other/b.nc", 2, 9), ("file:///late/c.nc", 1, 7)]);
    assert_eq!(world.repository.verify(firnline::VerifyScope::Everything).await.unwrap().findings, []);
}

#[tokio::test]
async fn containers_that_two_forks_define_differently_are_a_conflict() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set_container(Container::new("data", "file:///one/{}")).unwrap();
    session.set_virtual(&key("v/0"), "file:///one/a.nc", 0..10).await.unwrap();
    let redefine = async |template: &'static str| {
        changes_of(&world, &session, async |fork| fork.set_container(Container::new("data", template)).unwrap()).await
    };
    let (two, again, three) = (redefine("file:///two/{}").await, redefine("file:///two/{}").await, redefine("file:///three/{}").await);
    let refers = changes_of(&world, &session, async |fork| fork.set_virtual(&key("v/1"), "file:///one/b.nc", 0..10).await.unwrap()).await;
    session.merge(&two).await.unwrap();
    session.merge(&again).await.unwrap();
    assert_eq!(refused(&session, &three).await, ["container data"]);
    assert_eq!(refused(&session, &refers).await, ["container data"], "its reference was made for the old definition");
    drop(session);

    let session = world.repository.write("main").await.unwrap();
    session.set_container(Container::new("data", "file:///one/{}")).unwrap();
    let two = changes_of(&world, &session, async |fork| fork.set_container(Container::new("data", "file:///two/{}")).unwrap()).await;
    session.set_virtual(&key("v/1"), "file:///one/b.nc", 0..10).await.unwrap();
    assert_eq!(refused(&session, &two).await, ["container data"], "the session has referred to the old definition meanwhile");
}

/// Readers of local files below a directory.
fn allowing(place: &std::path::Path) -> Access {
    Access::parse([firnline::file_url(place).unwrap().as_str()]).unwrap()
}

/// The pins that forks found out agree as long as the file is the same, and nothing is committed that points into two states of it.
#[tokio::test]
async fn the_pins_of_two_forks_agree_or_are_a_conflict() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().canonicalize().unwrap();
    let file = directory.join("a.nc");
    std::fs::write(&file, b"0123456789").unwrap();
    let url = firnline::file_url(&file).unwrap();
    let world = World::allowing(allowing(&directory)).await;
    let session = world.repository.write("main").await.unwrap();
    let refers = async |session: &WriteSession, place: &'static str, range: std::ops::Range<u64>| {
        let fork = world.reopen(allowing(&directory)).await.resume_fork(&session.fork().await.unwrap()).await.unwrap();
        fork.set_virtual(&key(place), &url, range).await.unwrap();
        fork.finish().await.unwrap().to_vec()
    };
    let (one, two) = (refers(&session, "v/1", 0..4).await, refers(&session, "v/2", 4..10).await);
    std::fs::write(&file, b"another state of it").unwrap();
    let three = refers(&session, "v/3", 0..19).await;
    session.merge(&one).await.unwrap();
    session.merge(&two).await.unwrap();
    let [named] = <[String; 1]>::try_from(refused(&session, &three).await).unwrap();
    assert!(named.starts_with("file ") && named.contains("a.nc"), "{named}");
    std::fs::write(&file, b"0123456789").unwrap();
    let snapshot = session.commit("pinned").await.unwrap();
    let [known] = <[firnline::Dependency; 1]>::try_from(snapshot.dependencies().try_collect::<Vec<_>>().await.unwrap()).unwrap();
    assert!(known.record.is_pinned());
    assert_eq!((known.record.size, known.record.refs, known.record.bytes), (Some(10), 2, 10));
}

/// A fork that could not look the file up, because its process may not read there, and one that could.
#[tokio::test]
async fn a_pin_is_not_handed_on_to_a_fork_that_did_not_know_it() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().canonicalize().unwrap();
    std::fs::write(directory.join("a.nc"), b"0123456789").unwrap();
    let url = firnline::file_url(&directory.join("a.nc")).unwrap();
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    let refers = async |place: &'static str, access: Access| {
        let fork = world.reopen(access).await.resume_fork(&session.fork().await.unwrap()).await.unwrap();
        fork.set_virtual(&key(place), &url, 0..4).await.unwrap();
        fork.finish().await.unwrap().to_vec()
    };
    let blind = refers("v/blind", Access::default()).await;
    let seeing = refers("v/seeing", allowing(&directory)).await;
    let late = {
        session.merge(&seeing).await.unwrap();
        refers("v/late", Access::default()).await
    };
    assert_eq!(session.unpinned().unwrap(), []);
    let named = refused(&session, &blind).await;
    assert!(named[0].starts_with("file "), "{named:?}");
    // This one inherited the pin.
    session.merge(&late).await.unwrap();
    assert_eq!(session.commit("late").await.unwrap().dependencies().try_collect::<Vec<_>>().await.unwrap()[0].record.refs, 2);

    // Why a file is not pinned comes along.
    let session = world.repository.write("main").await.unwrap();
    let changes = changes_of(&world, &session, async |fork| fork.set_virtual(&key("v/x"), "file:///x/y.nc", 0..4).await.unwrap()).await;
    session.merge(&changes).await.unwrap();
    let [unpinned] = <[firnline::UnpinnedFile; 1]>::try_from(session.unpinned().unwrap()).unwrap();
    assert_eq!(unpinned.why, firnline::WhyUnpinned::NotAllowed);
    assert!(unpinned.problem.unwrap().contains("not allowed") && unpinned.remedy.is_some());
}

/// References that were staged for the old state of a file while a fork pinned it anew.
#[tokio::test]
async fn a_file_that_a_fork_pins_anew_conflicts_with_references_staged_meanwhile() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().canonicalize().unwrap();
    let file = directory.join("a.nc");
    std::fs::write(&file, b"0123456789").unwrap();
    let url = firnline::file_url(&file).unwrap();
    let world = World::allowing(allowing(&directory)).await;
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("v/0"), &url, 0..4).await.unwrap();
    session.commit("old").await.unwrap();
    let repinned = async |session: &WriteSession| {
        let fork = world.reopen(allowing(&directory)).await.resume_fork(&session.fork().await.unwrap()).await.unwrap();
        assert_eq!(fork.repin(&[&url]).await.unwrap().len(), 1);
        fork.finish().await.unwrap().to_vec()
    };
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("v/1"), &url, 0..4).await.unwrap();
    std::fs::write(&file, b"another state of it").unwrap();
    let changes = repinned(&session).await;
    session.set_virtual(&key("v/2"), &url, 0..4).await.unwrap();
    let named = refused(&session, &changes).await;
    assert!(named[0].starts_with("file "), "{named:?}");
    session.delete(&key("v/2")).await.unwrap();
    session.merge(&changes).await.unwrap();
    session.merge(&changes).await.unwrap();
    let snapshot = session.commit("new").await.unwrap();
    let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    assert_eq!((files[0].record.size, files[0].record.refs), (Some(19), 2));
    assert_eq!(snapshot.get(&key("v/1")).await.unwrap().unwrap(), "anot");
}

/// A fork that had pointed into a file, and pointed elsewhere later, was in conflict with a fork that found another state of it.
#[tokio::test]
async fn a_file_that_a_fork_refers_to_no_more_is_in_no_conflict() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().canonicalize().unwrap();
    let file = directory.join("a.nc");
    std::fs::write(&file, b"0123456789").unwrap();
    let url = firnline::file_url(&file).unwrap();
    let world = World::allowing(allowing(&directory)).await;
    let session = world.repository.write("main").await.unwrap();
    let resume = async || world.reopen(allowing(&directory)).await.resume_fork(&session.fork().await.unwrap()).await.unwrap();
    let one = resume().await;
    one.set_virtual(&key("v/1"), &url, 0..4).await.unwrap();
    one.set(&key("v/1"), "native").await.unwrap();
    let one = one.finish().await.unwrap();
    std::fs::write(&file, b"another state of it").unwrap();
    let two = resume().await;
    two.set_virtual(&key("v/2"), &url, 0..19).await.unwrap();
    let two = two.finish().await.unwrap();
    session.merge(&one).await.unwrap();
    session.merge(&two).await.unwrap();
    let snapshot = session.commit("both").await.unwrap();
    assert_eq!(snapshot.get(&key("v/2")).await.unwrap().unwrap(), "another state of it");
}

/// The fork that was merged second found references to what it had redefined itself, in the same way, and took them for old ones.
#[tokio::test]
async fn containers_that_two_forks_redefine_in_one_way_and_refer_to_are_no_conflict() {
    let world = World::new().await;
    for order in [[0, 1], [1, 0]] {
        let session = world.repository.write("main").await.unwrap();
        session.set_container(Container::new("data", "file:///one/{}")).unwrap();
        session.set_virtual(&key("v/0"), "file:///one/a.nc", 0..10).await.unwrap();
        let redefine = async |places: &'static [&'static str]| {
            changes_of(&world, &session, async |fork| {
                fork.set_container(Container::new("data", "file:///two/{}")).unwrap();
                for place in places {
                    fork.set_virtual(&key(place), "file:///two/b.nc", 0..10).await.unwrap();
                }
            })
            .await
        };
        let refers = changes_of(&world, &session, async |fork| {
            fork.set_virtual(&key("v/3"), "file:///one/c.nc", 0..10).await.unwrap();
        })
        .await;
        let both = [redefine(&["v/1", "v/2"]).await, redefine(&[]).await];
        for changes in order.map(|n| &both[n]) {
            session.merge(changes).await.unwrap();
        }
        assert_eq!(refused(&session, &refers).await, ["container data"], "its reference was made for the old definition");
        assert_eq!(session.list(&firnline::Prefix::all()).await.unwrap().len(), 3);
    }
}

/// The fork that was merged second found references to the state that it had found itself, and took them for old ones.
#[tokio::test]
async fn a_file_that_two_forks_pin_anew_to_one_state_and_refer_to_is_no_conflict() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().canonicalize().unwrap();
    let file = directory.join("a.nc");
    std::fs::write(&file, b"0123456789").unwrap();
    let url = firnline::file_url(&file).unwrap();
    let world = World::allowing(allowing(&directory)).await;
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("v/0"), &url, 0..4).await.unwrap();
    session.commit("old").await.unwrap();
    std::fs::write(&file, b"another state of it").unwrap();
    for order in [[0, 1], [1, 0]] {
        let session = world.repository.write("main").await.unwrap();
        let repinned = async |place: Option<&str>| {
            let fork = world.reopen(allowing(&directory)).await.resume_fork(&session.fork().await.unwrap()).await.unwrap();
            assert_eq!(fork.repin(&[&url]).await.unwrap().len(), 1);
            if let Some(place) = place {
                fork.set_virtual(&key(place), &url, 10..19).await.unwrap();
            }
            fork.finish().await.unwrap().to_vec()
        };
        let both = [repinned(Some("v/1")).await, repinned(None).await];
        for changes in order.map(|n| &both[n]) {
            session.merge(changes).await.unwrap();
        }
        assert_eq!(session.get(&key("v/1")).await.unwrap().unwrap(), "ate of it");
    }
}

/// Two large rows did not fit into one block, and `finish` failed with an internal error.
#[tokio::test]
async fn large_definitions_of_containers_travel() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    let large = |name: &str, count: usize, value: &str| {
        let options = (0..count).map(|n| (format!("{n:0250}"), value.repeat(4096)));
        let mut container = Container::new(name, format!("file:///{name}/{{}}"));
        container.options.extend(options);
        container
    };
    let define = |session: &WriteSession, value| {
        for (name, count) in [("one", 59), ("two", 64)] {
            session.set_container(large(name, count, value)).unwrap();
        }
    };
    define(&session, "x");
    let changes = changes_of(&world, &session, async |fork| define(fork, "y")).await;
    session.merge(&changes).await.unwrap();
    assert!(session.containers().iter().all(|container| container.options.values().all(|value| value.starts_with('y'))));
}
