//! Staging, committing, losing a race.

use std::time::Duration;

use futures::TryStreamExt;

use firnline::{
    CommitOptions, Entry, Error, ErrorKind, Existing, ExpireOptions, GcOptions, OpenOptions, Prefix, Repository, SyncOptions,
    VirtualOptions, VirtualRefs,
};

use crate::support::{World, conflicts, key};

#[tokio::test]
async fn a_commit_carries_what_its_options_say() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("a"), "1").await.unwrap();
    let long = format!("{}é tail\nbody", "x".repeat(71));
    let options = CommitOptions::from(long.clone()).author("Ada").meta("run", "7");
    let snapshot = session.commit(options).await.unwrap();
    let commit = snapshot.record();
    assert_eq!((commit.message.as_str(), commit.author.as_deref(), commit.meta["run"].as_str()), (long.as_str(), Some("Ada"), "7"));
    assert_eq!(commit.summary(), "x".repeat(71), "cut at a character, not inside one");
    assert_eq!(commit.parents.len(), 1);
}

#[tokio::test]
async fn nothing_staged_is_nothing_committed_unless_asked_for() {
    let world = World::new().await;
    let tip = world.put("a", "1").await;
    let session = world.repository.write("main").await.unwrap();
    assert!(session.is_unchanged());
    assert_eq!(session.commit("nothing").await.unwrap().id(), tip.id());
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("a"), "1").await.unwrap();
    assert_eq!(session.commit("the same").await.unwrap().id(), tip.id());
    let session = world.repository.write("main").await.unwrap();
    let marker = session.commit(CommitOptions::from("marker").allow_empty()).await.unwrap();
    assert_ne!(marker.id(), tip.id());
    assert_eq!(marker.record().manifest, tip.record().manifest);
}

#[tokio::test]
async fn small_values_are_inline_and_large_ones_chunks() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    for (name, length) in [("a/0", 1024), ("a/1", 1025), ("a/zarr.json", 4096), ("b/zarr.json", 4097), ("big", 3 << 20)] {
        session.set(&key(name), vec![b' '; length]).await.unwrap();
    }
    assert_eq!(session.get(&key("big")).await.unwrap().unwrap().len(), 3 << 20, "a session reads what it is uploading");
    let snapshot = session.commit("sizes").await.unwrap();
    for (name, inline) in [("a/0", true), ("a/1", false), ("a/zarr.json", true), ("b/zarr.json", false), ("big", false)] {
        let entry = snapshot.entry(&key(name)).await.unwrap().unwrap();
        assert_eq!(matches!(entry, Entry::Inline(_)), inline, "{name}");
    }
    let part = snapshot.get_range(&key("big"), (1 << 20) - 1..(1 << 20) + 1).await.unwrap().unwrap();
    assert_eq!(part.as_ref(), b"  ");
    assert_eq!(snapshot.get_range(&key("a/0"), 1..1025).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_conflict_names_both_sides_keys_and_gives_the_session_back() {
    let world = World::new().await;
    let other = world.reopen(firnline::Access::default()).await;
    let mine = world.repository.write("main").await.unwrap();
    mine.set(&key("a"), "mine").await.unwrap();
    mine.set(&key("b"), "mine").await.unwrap();
    let theirs = other.write("main").await.unwrap();
    theirs.set(&key("a"), "theirs").await.unwrap();
    theirs.set(&key("c"), "theirs").await.unwrap();
    let tip = theirs.commit("theirs").await.unwrap();
    let failed = mine.commit("mine").await.unwrap_err();
    assert_eq!((failed.kind(), conflicts(&failed)), (ErrorKind::Conflict, vec!["a".to_owned()]));
    let mine = failed.into_session();
    assert_eq!(mine.get(&key("b")).await.unwrap().unwrap().as_ref(), b"mine");
    assert_eq!(world.repository.read("main").await.unwrap().id(), tip.id(), "a failed commit changes nothing");
}

#[tokio::test]
async fn deleting_a_prefix_conflicts_with_what_others_put_there() {
    let world = World::new().await;
    world.put("a/x", "1").await;
    let other = world.reopen(firnline::Access::default()).await;
    let mine = world.repository.write("main").await.unwrap();
    mine.delete_prefix(&Prefix::new("a").unwrap());
    let theirs = other.write("main").await.unwrap();
    theirs.set(&key("a/y"), "new").await.unwrap();
    theirs.commit("theirs").await.unwrap();
    let failed = mine.commit("mine").await.unwrap_err();
    assert_eq!(conflicts(&failed), ["a/y"]);
}

#[tokio::test]
async fn a_commit_that_waited_is_stamped_anew_and_later_than_what_it_follows() {
    let world = World::new().await;
    let first = world.put("a", "1").await;
    // The other writer's clock is ahead by some minutes; ours still commits, strictly later.
    world.clock.advance(Duration::from_mins(5));
    let ahead = world.put("a", "2").await;
    world.clock.set(first.record().time);
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("a"), "3").await.unwrap();
    let behind = session.commit("behind").await.unwrap();
    assert_eq!(behind.record().time, ahead.record().time.next());
}

#[tokio::test]
async fn a_reader_opened_for_reading_cannot_write() {
    let world = World::new().await;
    let tip = world.put("a", "1").await;
    let reader = Repository::open_storage(world.storage.clone(), OpenOptions::default().read_only()).await.unwrap();
    assert_eq!(reader.write("main").await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(reader.create_branch(&"b".parse().unwrap(), &tip).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(reader.read("main").await.unwrap().id(), tip.id());
}

#[tokio::test]
async fn a_store_without_a_repository_says_so_and_one_is_not_made_twice() {
    let world = World::new().await;
    let again = Repository::create_storage(world.storage.clone(), firnline::CreateOptions::default()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    let empty = tempfile::tempdir().unwrap();
    let place = empty.path().to_str().unwrap();
    assert_eq!(Repository::open(place).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(std::fs::read_dir(place).unwrap().count(), 0, "opening creates nothing");
    assert_eq!(world.repository.write("none").await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// A service commits from tasks of its own, so every future must be able to change threads.
#[tokio::test]
async fn everything_can_be_done_in_a_task() {
    fn movable<T: Send>(task: T) -> T {
        task
    }
    let world = World::new().await;
    let repository = world.repository.clone();
    let task = movable(async move {
        let session = repository.write("main").await?;
        session.set(&key("a"), vec![1; 5000]).await?;
        session.set_virtual(&key("b"), "file:///data/one.nc", 0..4).await?;
        let keys = firnline::KeyColumn::Keys(&["d", "e"]);
        let (urls, ones) = (["file:///data/one.nc"], [1, 1]);
        let refs = VirtualRefs { keys, urls: &urls, url: &[0, 0], offset: &ones, length: &ones, validators: &[] };
        session.set_virtual_many(&refs, &VirtualOptions::default()).await?;
        session.set_many([(key("f"), "small".into()), (key("g"), vec![2; 5000])]).await?;
        session.delete(&key("c")).await?;
        session.get(&key("a")).await?;
        session.get_many(&[key("a"), key("c")]).await?;
        session.list(&Prefix::all()).await?;
        let snapshot = session.commit("from a task").await.map_err(|failed| failed.into_error())?;
        snapshot.get_many(&[key("a"), key("c")]).await?;
        snapshot.get_ranges(&[(key("a"), 0..4)]).await?;
        repository.create_branch(&"other".parse()?, &snapshot).await?;
        repository.reset(&"other".parse()?, &repository.read("main~1").await?).await?;
        repository.as_of(&"main".parse()?, snapshot.record().time).await?;
        snapshot.children(&Prefix::all()).await?;
        snapshot.dependencies().try_collect::<Vec<_>>().await?;
        snapshot.log().try_collect::<Vec<_>>().await?;
        let name = key("a");
        snapshot.key_history(&name).try_collect::<Vec<_>>().await?;
        snapshot.origin(&name).await?;
        snapshot.stats().await?;
        let (first, all) = (repository.read("main~1").await?, Prefix::all());
        first.diff(&snapshot, &all).try_collect::<Vec<_>>().await?;
        let place = tempfile::tempdir().unwrap();
        first.diff_directory(place.path(), &all).await?.try_collect::<Vec<_>>().await?;
        let session = repository.write("main").await?;
        let source = snapshot.find_named("a").await?;
        session.copy_from(&snapshot, &source, "m/a", Existing::Refuse).await?;
        session.rename("m", "n", Existing::Replace).await?;
        let snapshot = session.commit("named anew").await.map_err(|failed| failed.into_error())?;
        snapshot.content_id(&Prefix::new("n")?).await?;
        let mut car = Vec::new();
        snapshot.export_car(&mut car).await?;
        repository.import_car(car.as_slice(), firnline::ImportTarget::Branch("copy".parse()?)).await?;
        repository.verify(firnline::VerifyScope::Everything).await
    });
    let verified = tokio::spawn(task).await.unwrap().unwrap();
    assert_eq!(verified.found, 0);
}

#[tokio::test]
async fn branches_copies_and_expiry_can_be_worked_on_in_a_task() {
    let world = World::new().await;
    world.put("a", "1").await;
    let repository = world.repository.clone();
    let task = async move {
        let (main, side) = ("main".parse()?, "side".parse()?);
        let first = repository.read("main").await?;
        repository.create_branch(&side, &first).await?;
        let session = repository.write("side").await?;
        session.set(&key("b"), vec![1; 5000]).await?;
        let theirs = session.commit("on the side").await.map_err(|failed| failed.into_error())?;
        repository.can_fast_forward(&main, &theirs).await?;
        let merged = repository.merge(&main, &theirs, "merge").await?;
        merged.session.changes_nothing().await?;
        merged.commit().await.map_err(|failed| failed.into_error())?;
        repository.take_step(&repository.undo_step(&main).await?).await?;

        let all = SyncOptions::default();
        let (copy, report) = repository.clone_to("memory:", OpenOptions::default(), &all).await?;
        copy.pull(&repository, &all).await?;
        repository.push(&copy, &all).await?;

        let plan = repository.plan_expire(&ExpireOptions::default().keep_last(1)).await?;
        repository.freed_by(&plan).await?;
        repository.expire(&plan, "old").await?;
        repository.retention().await?;
        repository.withdraw(&theirs, "wrong", None).await?;
        repository.reinstate(&theirs).await?;
        theirs.stored_usage().await?;
        repository.gc(&GcOptions::default()).await?;
        Ok::<_, Error>(report)
    };
    assert_eq!(tokio::spawn(task).await.unwrap().unwrap().refs.len(), 2);
}

/// To delete a key that does not exist was a change, which was in conflict with a writer who created the key.
#[tokio::test]
async fn deleting_what_is_not_there_stages_nothing() {
    let world = World::new().await;
    let tip = world.put("a", "1").await;
    let mine = world.repository.write("main").await.unwrap();
    assert!(!mine.delete(&key("b")).await.unwrap());
    assert!(mine.is_unchanged());
    assert!(mine.delete(&key("a")).await.unwrap());
    assert!(!mine.delete(&key("a")).await.unwrap(), "it is deleted already");
    mine.set(&key("c"), "1").await.unwrap();
    world.put("b", "theirs").await;
    let merged = mine.commit("what is not there is not deleted").await.unwrap();
    assert_eq!(merged.get(&key("b")).await.unwrap().unwrap().as_ref(), b"theirs");
    assert_eq!(merged.get(&key("a")).await.unwrap(), None);
    // A key that the session itself set first may exist at the tip by the time of the commit.
    let mine = world.repository.write("main").await.unwrap();
    mine.set(&key("d"), "mine").await.unwrap();
    assert!(mine.delete(&key("d")).await.unwrap());
    assert_eq!(mine.get(&key("d")).await.unwrap(), None);
    assert_ne!(tip.id(), merged.id());
}

/// Sessions could read whole values and list keys only; ranges and children had to wait for the commit.
#[tokio::test]
async fn a_session_reads_all_that_the_snapshot_of_its_commit_reads() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    for name in ["a/x", "a/gone/0", "a/gone/1", "a/kept/0", "a/kept/10", "a/kept/9", "b/0", "top"] {
        session.set(&key(name), format!("base of {name}")).await.unwrap();
    }
    session.commit("base").await.unwrap();
    world.clock.advance(Duration::from_secs(1));

    let session = world.repository.write("main").await.unwrap();
    session.delete_prefix(&Prefix::new("a/gone").unwrap());
    session.delete(&key("a/kept/9")).await.unwrap();
    session.set(&key("a/kept/10"), vec![7; 5000]).await.unwrap();
    session.set(&key("a/new/deep/0"), "new").await.unwrap();
    session.set(&key("a/kept/2"), "between").await.unwrap();
    session.delete(&key("b/0")).await.unwrap();

    let parts = [(key("a/kept/10"), 10..20), (key("a/kept/0"), 0..4), (key("a/gone/0"), 0..1), (key("a/kept/10"), 4990..5000)];
    let keys: Vec<_> = parts.iter().map(|(key, _)| key.clone()).collect();
    let prefixes = ["", "a", "a/kept", "a/gone", "a/new", "b"].map(|text| Prefix::new(text).unwrap());
    let ranges = session.get_ranges(&parts).await.unwrap();
    let one = session.get_range(&key("a/kept/10"), 0..3).await.unwrap();
    let (entries, many) = (session.entries(&keys).await.unwrap(), session.get_many(&keys).await.unwrap());
    let mut children = Vec::new();
    for prefix in &prefixes {
        children.push((session.children(prefix).await.unwrap(), session.list(prefix).await.unwrap()));
    }
    let past = session.get_range(&key("a/kept/10"), 0..5001).await.unwrap_err();
    assert_eq!(past.kind(), ErrorKind::Invalid);

    let snapshot = session.commit("changes").await.unwrap();
    assert_eq!(ranges, snapshot.get_ranges(&parts).await.unwrap());
    assert_eq!((one.as_deref(), ranges[0].as_deref()), (Some(&[7; 3][..]), Some(&[7; 10][..])));
    assert_eq!(entries, snapshot.entries(&keys).await.unwrap());
    assert_eq!(many, snapshot.get_many(&keys).await.unwrap());
    for (prefix, (children, list)) in prefixes.iter().zip(children) {
        assert_eq!(children, snapshot.children(prefix).await.unwrap(), "{prefix}");
        assert_eq!(list, snapshot.list(prefix).try_collect::<Vec<_>>().await.unwrap(), "{prefix}");
    }
    assert_eq!(snapshot.children(&prefixes[1]).await.unwrap().len(), 3, "a/kept/, a/new/ and a/x");
}

/// Streams borrowed their snapshot, so none could be returned from a function or given to a task.
#[tokio::test]
async fn streams_outlive_the_snapshot_and_go_to_other_tasks() {
    async fn kept<T>(stream: impl futures::Stream<Item = firnline::Result<T>> + Send + 'static) -> usize {
        stream.try_fold(0, |n, _| async move { Ok(n + 1) }).await.unwrap()
    }
    let world = World::new().await;
    let first = world.put("a/0", "1").await;
    let second = world.put("a/1", "2").await;
    let prefix = Prefix::new("a").unwrap();
    let tasks = [
        tokio::spawn(kept(second.list(&prefix))),
        tokio::spawn(kept(second.dependencies())),
        tokio::spawn(kept(second.log())),
        tokio::spawn(kept(second.key_history(&key("a/1")))),
        tokio::spawn(kept(first.diff(&second, &prefix))),
    ];
    drop((first, second));
    let counts = futures::future::try_join_all(tasks).await.unwrap();
    assert_eq!(counts, [2, 0, 3, 1, 1]);
}

/// A session could not stream a value: one larger than memory had to wait for the commit.
#[tokio::test]
async fn a_session_streams_what_it_would_commit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().canonicalize().unwrap().join("a.nc");
    std::fs::write(&file, b"0123456789").unwrap();
    let url = firnline::file_url(&file).unwrap();
    let world = World::allowing(firnline::Access::parse([url.trim_end_matches("a.nc")]).unwrap()).await;
    world.put("below", "base").await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("large"), vec![7; 9 << 20]).await.unwrap();
    session.set(&key("small"), "staged").await.unwrap();
    session.set_virtual(&key("v/0"), &url, 2..8).await.unwrap();
    for (name, expected) in [("below", "ase"), ("small", "tag"), ("v/0", "345")] {
        let pieces: Vec<_> = session.stream(&key(name), Some(1..4)).await.unwrap().try_collect().await.unwrap();
        assert_eq!(pieces.concat(), expected.as_bytes(), "{name}");
    }
    assert_eq!(session.stream(&key("v/0"), Some(1..7)).await.err().unwrap().kind(), ErrorKind::Invalid);
    assert_eq!(session.stream(&key("none"), None).await.err().unwrap().kind(), ErrorKind::NotFound);
    let large = session.stream(&key("large"), None).await.unwrap();
    session.delete(&key("large")).await.unwrap();
    drop(session);
    let sizes = tokio::spawn(large.map_ok(|piece| piece.len()).try_collect::<Vec<_>>());
    assert_eq!(sizes.await.unwrap().unwrap(), [8 << 20, 1 << 20]);
}

#[tokio::test]
async fn a_commit_can_refuse_to_be_rebased() {
    let repository = Repository::create("memory:").await.unwrap();
    let (mine, theirs) = (repository.write("main").await.unwrap(), repository.write("main").await.unwrap());
    mine.set(&key("a"), "a").await.unwrap();
    theirs.set(&key("b"), "b").await.unwrap();
    theirs.commit("theirs").await.unwrap();
    let failed = mine.commit(CommitOptions::from("mine").without_rebase()).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict);
    assert!(failed.conflicts().is_empty(), "both sides changed different things");
    let after = failed.into_session().commit("mine").await.unwrap();
    assert_eq!(after.get(&key("b")).await.unwrap().unwrap(), "b");
    let alone = repository.write("main").await.unwrap();
    alone.set(&key("c"), "c").await.unwrap();
    alone.commit(CommitOptions::from("nobody else").without_rebase()).await.unwrap();
}
