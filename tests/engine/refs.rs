//! Branches, tags, revisions, and times that look wrong.

use std::time::Duration;

use firnline::{ErrorDetail, ErrorKind, ImportTarget, MoveOp, Ref, RefName, TagOptions, Timestamp};

use crate::support::{World, key};

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_tag_says_who_made_it_when_and_why() {
    let world = World::new().await;
    let snapshot = world.put("a", "1").await;
    let mut options = TagOptions::from("the release");
    options.author = Some("Ada".to_owned());
    options.meta.insert("doi".to_owned(), "10.5072/x".to_owned());
    world.repository.create_tag(&name("v1"), &snapshot, options).await.unwrap();
    let tags = world.repository.tags().await.unwrap();
    let about = tags[0].tag.as_ref().unwrap();
    assert_eq!((tags[0].tip, about.message.as_str(), about.author.as_deref()), (Some(snapshot.id()), "the release", Some("Ada")));
    assert_eq!(about.meta["doi"], "10.5072/x");
    let again = world.repository.create_tag(&name("v1"), &snapshot, "again").await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    assert_eq!(world.repository.read("v1").await.unwrap().id(), snapshot.id());
    world.repository.delete_tag(&name("v1")).await.unwrap();
    assert!(world.repository.tags().await.unwrap().is_empty());
    assert_eq!(world.repository.read("v1").await.unwrap_err().kind(), ErrorKind::NotFound);
    world.repository.create_tag(&name("v1"), &snapshot, "anew").await.unwrap();
    let moves = world.repository.moves(&Ref::tag(name("v1"))).await.unwrap();
    assert_eq!(moves.iter().map(|m| m.op).collect::<Vec<_>>(), [MoveOp::Create, MoveOp::Delete, MoveOp::Create]);
    assert!(moves.is_sorted_by(|a, b| a.seq < b.seq && a.time < b.time));
}

#[tokio::test]
async fn revisions_find_what_they_name() {
    let world = World::new().await;
    let (one, two) = (world.put("a", "1").await, world.put("a", "2").await);
    let repository = &world.repository;
    repository.create_tag(&name("one"), &one, "").await.unwrap();
    let text = one.id().to_string();
    for revision in ["main~1", "main~", "tag:one", "one", &text, text.get(..13).unwrap(), &format!("main@{}", one.record().time)] {
        assert_eq!(repository.read(revision).await.unwrap().id(), one.id(), "{revision}");
    }
    // The CID in another base is the same CID.
    let base58 = one.id().cid().to_string_of_base(multibase::Base::Base58Btc).unwrap();
    assert_eq!(repository.read(&base58).await.unwrap().id(), one.id());
    assert_eq!(repository.read("main@now").await.unwrap().id(), two.id());
    for missing in ["main~3", "none", "bafyreiaaaaaaaaaa", text.get(..12).unwrap(), "main@2020-01-01"] {
        assert_eq!(repository.read(missing).await.unwrap_err().kind(), ErrorKind::NotFound, "{missing}");
    }
    repository.create_branch(&name("one"), &two).await.unwrap();
    assert_eq!(repository.read("one").await.unwrap_err().kind(), ErrorKind::Invalid, "both a branch and a tag");
    assert_eq!(repository.read("branch:one").await.unwrap().id(), two.id());
    assert_eq!(repository.create_branch(&name("Main"), &two).await.unwrap_err().kind(), ErrorKind::Invalid, "differs in case");
}

#[tokio::test]
async fn what_a_reader_saw_survives_a_reset_and_a_deletion() {
    let world = World::new().await;
    let repository = &world.repository;
    let (one, two) = (world.put("a", "1").await, world.put("a", "2").await);
    world.clock.advance(Duration::from_mins(1));
    repository.reset(&name("main"), &one).await.unwrap();
    world.clock.advance(Duration::from_mins(1));
    let deleted = repository.delete_branch(&name("main")).await.unwrap();
    let before = repository.as_of(&name("main"), Timestamp::from_micros(deleted.time.micros() - 1)).await.unwrap();
    assert_eq!((before.id, before.is_final), (one.id(), true));
    let earlier = repository.as_of(&name("main"), two.record().time).await.unwrap();
    assert_eq!((earlier.id, earlier.is_final), (two.id(), true));
    let error = repository.as_of(&name("main"), deleted.time).await.unwrap_err();
    assert_eq!(error.to_string(), format!("branch main was deleted at {}", deleted.time));
    // What the deletion came from can be pointed at again, and its time goes on.
    repository.create_branch(&name("main"), &two).await.unwrap();
    assert_eq!(repository.read("main").await.unwrap().id(), two.id());
}

#[tokio::test]
async fn forty_moves_spill_into_objects_and_are_still_told() {
    let world = World::new().await;
    let (one, two) = (world.put("a", "1").await, world.put("a", "2").await);
    let mut seen = Vec::new();
    for n in 0..40 {
        world.clock.advance(Duration::from_secs(1));
        let to = if n % 2 == 0 { &one } else { &two };
        let moved = world.repository.reset(&name("main"), to).await.unwrap();
        seen.push((moved.time, to.id()));
    }
    for (time, id) in seen {
        assert_eq!(world.repository.as_of(&name("main"), time).await.unwrap().id, id, "at {time}");
    }
    let moves = world.repository.moves(&Ref::branch(name("main"))).await.unwrap();
    assert_eq!(moves.len(), 41);
    assert!(moves.is_sorted_by(|a, b| a.seq < b.seq && a.time < b.time));
}

#[tokio::test]
async fn a_branch_from_the_future_is_refused_with_a_way_out() {
    let world = World::new().await;
    let good = world.put("a", "1").await;
    world.clock.advance(Duration::from_hours(1));
    world.put("a", "2").await;
    world.clock.set(good.record().time.plus(Duration::from_mins(1)));
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("a"), "3").await.unwrap();
    let failed = session.commit("late").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Invalid);
    assert!(failed.to_string().contains("reset the branch to main@now"), "{failed}");
    assert_eq!(failed.error().detail(), Some(&ErrorDetail::FutureBranch { branch: "main".to_owned() }));
    // The way out works.
    let before = world.repository.read("main@now").await.unwrap();
    assert_eq!(before.id(), good.id());
    world.repository.reset(&name("main"), &before).await.unwrap();
    world.put("a", "3").await;
}

/// A branch that is reset onto a commit from the future would refuse every commit until then, and so would one made there.
#[tokio::test]
async fn no_ref_is_pointed_at_a_commit_from_the_future() {
    let world = World::new().await;
    let good = world.put("a", "1").await;
    world.repository.create_branch(&name("healthy"), &good).await.unwrap();
    world.clock.advance(Duration::from_hours(1));
    let ahead = world.put("a", "2").await;
    world.clock.set(good.record().time.plus(Duration::from_mins(1)));
    let repository = &world.repository;
    let refused = [
        repository.reset(&name("healthy"), &ahead).await,
        repository.create_branch(&name("new"), &ahead).await,
        repository.create_tag(&name("new"), &ahead, "").await,
    ];
    for error in refused.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(error.detail(), Some(&ErrorDetail::FutureSnapshot { id: ahead.id().to_string() }));
    }
    let session = repository.write("healthy").await.unwrap();
    session.set(&key("a"), "3").await.unwrap();
    session.commit("on time").await.unwrap();
    // Up to ten minutes is what clocks may differ by.
    world.clock.set(ahead.record().time.minus(Duration::from_mins(9)));
    repository.reset(&name("healthy"), &ahead).await.unwrap();
}

/// Leaving a commit or a move from the future changes no answer about the time until then, and the branch can be used again.
#[tokio::test]
async fn a_branch_from_the_future_is_used_again_without_changing_the_past() {
    for is_moved_in_future in [false, true] {
        let world = World::new().await;
        let repository = &world.repository;
        let (one, two) = (world.put("a", "1").await, world.put("a", "2").await);
        let (main, present) = (name("main"), two.record().time);
        world.clock.advance(Duration::from_hours(24 * 365));
        world.put("a", "3").await;
        if is_moved_in_future {
            repository.delete_branch(&main).await.unwrap();
            repository.create_branch(&main, &one).await.unwrap();
        }
        world.clock.set(present.plus(Duration::from_mins(5)));
        let times = [one.record().time, present, present.plus(Duration::from_mins(4))];
        let mut before = Vec::new();
        for time in times {
            before.push(repository.as_of(&main, time).await.unwrap().id);
        }
        assert_eq!(before, [one.id(), two.id(), two.id()]);
        assert!(!repository.as_of(&main, times[2]).await.unwrap().is_final, "a move may still come before a stamp from the future");

        world.clock.advance(Duration::from_secs(1));
        let deleted = repository.delete_branch(&main).await.unwrap();
        assert_eq!(repository.as_of(&main, deleted.time).await.unwrap_err().kind(), ErrorKind::NotFound);
        repository.create_branch(&main, &one).await.unwrap();
        let four = world.put("a", "4").await;
        for (time, id) in times.into_iter().zip(before).chain([(four.record().time, four.id())]) {
            assert_eq!(repository.as_of(&main, time).await.unwrap().id, id, "{is_moved_in_future}, at {time}");
        }
        assert_eq!(repository.read(&format!("main@{}", four.record().time)).await.unwrap().id(), four.id());
    }
}

/// A move away from a stamp in the future was dated by this clock alone. When that was behind another's by a minute, the move came
/// before a commit that readers had been told of with a final answer.
#[tokio::test]
async fn a_move_away_from_the_future_changes_no_final_answer() {
    for what in ["reset", "delete", "import"] {
        let world = World::new().await;
        let repository = &world.repository;
        let (one, two) = (world.put("a", "1").await, world.put("a", "2").await);
        let (main, time) = (name("main"), two.record().time);
        world.clock.advance(Duration::from_hours(24 * 365));
        world.put("a", "3").await;
        world.clock.set(time.plus(Duration::from_secs(1)));
        let told = repository.as_of(&main, time).await.unwrap();
        assert_eq!((told.id, told.is_final), (two.id(), true));

        world.clock.set(time.minus(Duration::from_mins(1)));
        let moved = match what {
            "reset" => repository.reset(&main, &one).await.unwrap(),
            "delete" => repository.delete_branch(&main).await.unwrap(),
            _ => {
                let mut car = Vec::new();
                one.export_car(&mut car).await.unwrap();
                repository.import_car(car.as_slice(), ImportTarget::Branch(main.clone())).await.unwrap().moved
            }
        };
        assert!(moved.time > time, "{what}");
        assert_eq!(repository.as_of(&main, time).await.unwrap().id, told.id, "{what}");
    }
}

/// A branch with the name of a short id would change silently what that id means in every script.
#[tokio::test]
async fn a_short_id_always_means_a_snapshot() {
    let world = World::new().await;
    let (one, two) = (world.put("a", "1").await, world.put("a", "2").await);
    let id = one.id().to_string();
    let short = id.get(..13).unwrap();
    for text in [short, &short.to_uppercase(), id.get(..20).unwrap()] {
        let error = match text.parse::<RefName>() {
            Ok(name) => world.repository.create_branch(&name, &two).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Invalid, "{text}: {error}");
    }
    for fine in ["bafyrei", "bafyreiabcde", "bafyreiabc/defghij", "bafy-reiabcdefgh", "releases2024and2025"] {
        world.repository.create_tag(&name(fine), &two, "").await.unwrap();
        assert_eq!(world.repository.read(fine).await.unwrap().id(), two.id(), "{fine}");
    }
}

#[tokio::test]
async fn nothing_is_pointed_at_what_no_ref_keeps() {
    let world = World::new().await;
    let other = World::new().await;
    let foreign = other.put("x", "1").await;
    let error = world.repository.create_branch(&name("b"), &foreign).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(world.repository.branches().await.unwrap().len(), 1);
}

/// Going back from a branch starts somewhere else after the next commit, so nothing found that way is final.
#[tokio::test]
async fn going_back_from_a_ref_is_never_final() {
    let world = World::new().await;
    let (one, two) = (world.put("a", "1").await, world.put("a", "2").await);
    world.repository.create_tag(&name("t"), &two, "").await.unwrap();
    let resolve = async |text: &str| world.repository.resolve(&text.parse().unwrap()).await.unwrap();
    let time = two.record().time;
    for (text, id, is_final) in [
        (format!("main@{time}"), two.id(), Some(true)),
        (format!("main~1@{time}"), one.id(), Some(false)),
        (format!("tag:t@{time}"), two.id(), Some(false)),
        (format!("{}~1@{time}", two.id()), one.id(), Some(true)),
        (format!("main@{time}~1"), one.id(), Some(true)),
        ("main~1".to_owned(), one.id(), None),
    ] {
        let found = resolve(&text).await;
        assert_eq!((found.id, found.is_final), (id, is_final), "{text}");
    }
}

/// A version stamped far ahead would make its branch refuse every commit, and no reset would help.
#[tokio::test]
async fn a_version_from_the_future_is_not_imported() {
    let other = World::new().await;
    other.clock.advance(Duration::from_secs(1 << 31));
    let ahead = other.put("x", "1").await;
    let mut car = Vec::new();
    ahead.export_car(&mut car).await.unwrap();
    let world = World::new().await;
    let before = world.put("a", "1").await;
    let target = ImportTarget::Branch(name("main"));
    assert_eq!(world.repository.import_car(car.as_slice(), target).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(world.repository.read("main").await.unwrap().id(), before.id());
    world.put("a", "2").await;
}

/// A branch whose tip is lost can still be moved away from it, and keeps nobody from the other branches.
#[tokio::test]
async fn a_lost_tip_can_be_left() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let repository = firnline::Repository::create(place).await.unwrap();
    let root = repository.read("main").await.unwrap();
    repository.create_branch(&name("a"), &root).await.unwrap();
    let session = repository.write("a").await.unwrap();
    session.set(&key("x"), "1").await.unwrap();
    let lost = session.commit("to be lost").await.unwrap().id().to_string();
    let shard = lost.get(8..10).unwrap();
    std::fs::remove_file(folder.path().join("snapshots").join(shard).join(&lost)).unwrap();

    let repository = firnline::Repository::open(place).await.unwrap();
    repository.create_branch(&name("b"), &root).await.unwrap();
    repository.reset(&name("a"), &root).await.unwrap();
    assert_eq!(repository.read("a").await.unwrap().id(), root.id());
}

/// A cache that keeps nothing costs requests, not commits.
#[tokio::test]
async fn everything_works_without_a_cache() {
    let storage: std::sync::Arc<dyn firnline::storage::Storage> = std::sync::Arc::new(firnline::storage::Memory::new());
    let mut options = firnline::OpenOptions::default();
    options.cache_bytes = 0;
    let repository = firnline::Repository::create_storage(storage, firnline::CreateOptions::from(options)).await.unwrap();
    for n in 0..20 {
        let session = repository.write("main").await.unwrap();
        session.set(&key(&format!("x/{n}")), vec![n; 3000]).await.unwrap();
        session.commit("one more").await.unwrap();
    }
    let verified = repository.verify(firnline::VerifyScope::Everything).await.unwrap();
    assert_eq!((verified.found, verified.snapshots), (0, 21));
}
