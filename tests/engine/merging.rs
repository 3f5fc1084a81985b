//! Three-way merges, single commits applied and reverted, many made one, and branches moved forward.

use std::collections::{BTreeMap, BTreeSet};

use firnline::{
    Access, Conflict, ErrorDetail, ErrorKind, MergeOptions, MoveOp, OnConflict, Prefix, Ref, RefName, Repository, Snapshot, StagedMerge,
    VerifyScope, VirtualOptions,
};
use futures::TryStreamExt;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::conflicts::Do::{self, Delete, DeleteBelow, Set};
use crate::conflicts::{array2, array3, chunk, group3, hierarchy, stage};
use crate::limits::count;
use crate::support::{World, key};

pub(crate) fn name(text: &str) -> RefName {
    RefName::new(text).unwrap()
}

/// Commits changes to a branch.
pub(crate) async fn commit(repository: &Repository, branch: &str, changes: &[Do]) -> Snapshot {
    let mut session = repository.write(branch).await.unwrap();
    stage(&mut session, changes).await;
    session.commit(format!("on {branch}")).await.unwrap()
}

/// Every key of a snapshot with its value.
pub(crate) async fn tree(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let keys: Vec<_> = snapshot.list(&Prefix::all()).try_collect().await.unwrap();
    let mut tree = BTreeMap::new();
    for (key, _) in keys {
        let value = snapshot.get(&key).await.unwrap().unwrap();
        tree.insert(key.to_string(), String::from_utf8(value.to_vec()).unwrap());
    }
    tree
}

/// A repository whose `main` and `side` both begin with a hierarchy.
async fn forked() -> World {
    let world = World::new().await;
    let start = commit(&world.repository, "main", &hierarchy()).await;
    world.repository.create_branch(&name("side"), &start).await.unwrap();
    world
}

pub(crate) async fn is_sound(repository: &Repository) {
    assert_eq!(repository.verify(VerifyScope::Everything).await.unwrap().found, 0);
}

fn named(error: &firnline::Error) -> Vec<String> {
    match error.detail() {
        Some(ErrorDetail::MergeConflicts { named, more: 0 }) => named.clone(),
        other => panic!("{error}: {other:?}"),
    }
}

async fn merge(world: &World, options: impl Into<MergeOptions>) -> firnline::Result<StagedMerge> {
    let side = world.repository.read("side").await.unwrap();
    world.repository.merge(&name("main"), &side, options).await
}

#[tokio::test]
async fn a_merge_has_the_changes_of_both_sides_and_both_as_parents() {
    let world = forked().await;
    let theirs = commit(&world.repository, "side", &[chunk("g/x/c/1/0"), Delete("notes/1"), Set("same", "equal".to_owned())]).await;
    let ours = commit(&world.repository, "main", &[chunk("g/y/1.1"), Set("same", "equal".to_owned())]).await;
    let staged = merge(&world, MergeOptions::default()).await.unwrap();
    assert_eq!(staged.base, world.repository.read("main~1").await.unwrap().id());
    assert_eq!(staged.session.changes().await.unwrap().deleted, 1);
    let merged = staged.commit().await.unwrap();
    assert!(merged.is_new && merged.settled.is_empty());
    let merged = merged.snapshot;
    assert_eq!(merged.record().parents, [ours.id(), theirs.id()]);
    assert_eq!(merged.record().message, format!("Merge {} into main", &theirs.id().to_string()[..16]));
    let now = tree(&merged).await;
    assert!(now.contains_key("g/x/c/1/0") && now.contains_key("g/y/1.1") && !now.contains_key("notes/1"));
    let line: Vec<_> = merged.log().try_collect().await.unwrap();
    assert_eq!(line.len(), 4, "the first-parent line goes on: {line:?}");
    is_sound(&world.repository).await;

    // Merged once more there is nothing to do; the other way round it is a merge that changes what `side` lacks.
    let again = merge(&world, MergeOptions::default()).await.unwrap();
    assert!(again.session.is_unchanged() && again.base == theirs.id());
    assert!(!again.commit().await.unwrap().is_new);
    let back = world.repository.merge(&name("side"), &merged, "back").await.unwrap().commit().await.unwrap().snapshot;
    assert_eq!((back.record().manifest, &back.record().parents[..]), (merged.record().manifest, &[theirs.id(), merged.id()][..]));
    is_sound(&world.repository).await;
}

/// A merge that changes nothing is made all the same: it says that the versions were brought together.
#[tokio::test]
async fn a_merge_of_equal_changes_is_a_commit() {
    let world = forked().await;
    let theirs = commit(&world.repository, "side", &[chunk("n")]).await;
    let ours = commit(&world.repository, "main", &[chunk("n")]).await;
    let merged = merge(&world, MergeOptions::default()).await.unwrap().commit().await.unwrap();
    assert!(merged.is_new);
    assert_eq!(merged.snapshot.record().manifest, ours.record().manifest);
    assert!(theirs.is_behind(&merged.snapshot).await.unwrap() && !merged.snapshot.is_behind(&theirs).await.unwrap());
}

/// The rules of a lost race hold for merges, whichever side did what.
#[tokio::test]
async fn conflicts_are_those_of_two_writers() {
    let x = |change: fn(&mut Value)| vec![Set("g/x/zarr.json", array3(change))];
    let codecs = || x(|d| d["codecs"] = json!(["bytes", "zstd"]));
    let none: &[&str] = &[];
    let rows: Vec<(Vec<Do>, Vec<Do>, &[&str])> = vec![
        (vec![Set("notes/1", "one".to_owned()), chunk("a")], vec![Set("notes/1", "other".to_owned()), chunk("b")], &["notes/1"]),
        (codecs(), vec![chunk("g/x/c/1/0")], &["array g/x"]),
        (codecs(), vec![Delete("g/x/c/0/0")], &["array g/x"]),
        (codecs(), vec![chunk("g/y/1.1")], none),
        (x(|d| d["attributes"] = json!({ "units": "K" })), vec![chunk("g/x/c/1/0")], none),
        (x(|d| d["shape"] = json!([11, 20])), vec![chunk("g/x/c/1/0")], none),
        (vec![Set("g/y/.zarray", array2(|d| d["dtype"] = "<f8".into()))], vec![chunk("g/y/1.1")], &["array g/y"]),
        (vec![DeleteBelow("g/x")], vec![chunk("g/x/c/1/1")], &["array g/x"]),
        (vec![DeleteBelow("g")], vec![Set("g/new/zarr.json", group3())], &["group g"]),
        (vec![DeleteBelow("g")], vec![DeleteBelow("g/x")], none),
    ];
    for (ours, theirs, expected) in rows {
        for (ours, theirs) in [(&ours, &theirs), (&theirs, &ours)] {
            let world = forked().await;
            commit(&world.repository, "main", ours).await;
            commit(&world.repository, "side", theirs).await;
            match merge(&world, MergeOptions::default()).await {
                Ok(staged) => {
                    assert_eq!(expected, none, "{ours:?}, then {theirs:?}");
                    staged.commit().await.unwrap();
                    is_sound(&world.repository).await;
                }
                Err(refused) => {
                    assert_eq!(
                        (refused.kind(), named(&refused)),
                        (ErrorKind::Conflict, expected.iter().map(ToString::to_string).collect())
                    );
                    assert!(refused.to_string().contains("and branch main both changed"), "{refused}");
                }
            }
        }
    }
}

#[tokio::test]
async fn policies_decide_by_prefix_and_about_whole_arrays() {
    let codecs = array3(|d| d["codecs"] = json!(["bytes", "zstd"]));
    let ours =
        [Set("g/x/zarr.json", codecs.clone()), Set("g/x/c/0/0", "compressed".to_owned()), Set("notes/1", "ours".to_owned()), chunk("a")];
    let theirs = [Set("g/x/c/0/1", "plain".to_owned()), Set("notes/1", "theirs".to_owned()), Set("b", "theirs".to_owned())];
    let prefix = |text: &str| Prefix::new(text).unwrap();
    let run = |options: MergeOptions| {
        let (ours, theirs) = (ours.clone(), theirs.clone());
        async move {
            let world = forked().await;
            commit(&world.repository, "main", &ours).await;
            commit(&world.repository, "side", &theirs).await;
            let done = merge(&world, options).await?.commit().await.unwrap();
            is_sound(&world.repository).await;
            let settled: Vec<String> = done.settled.iter().map(Conflict::to_string).collect();
            Ok::<_, firnline::Error>((tree(&done.snapshot).await, settled))
        }
    };
    let refused = run(MergeOptions::default().on_conflict_below(prefix("g"), OnConflict::Ours)).await.unwrap_err();
    assert_eq!(named(&refused), ["notes/1"]);
    let refused = run(MergeOptions::default().on_conflict_below(prefix("notes"), OnConflict::Ours)).await.unwrap_err();
    assert_eq!(named(&refused), ["array g/x"]);
    assert!(refused.to_string().contains("given another codecs on the branch, while g/x/c/0/1 was set by what is applied"), "{refused}");

    let both = MergeOptions::default().on_conflict(OnConflict::Ours).on_conflict_below(prefix("notes/1"), OnConflict::Theirs);
    let (now, _) = run(both).await.unwrap();
    assert_eq!((&now["g/x/zarr.json"], now["g/x/c/0/1"].as_str()), (&codecs, "g/x/c/0/1 anew"), "the array is ours as a whole");
    assert_eq!((now["notes/1"].as_str(), now["b"].as_str(), now["a"].as_str()), ("theirs", "theirs", "a anew"));

    let both = MergeOptions::default().on_conflict(OnConflict::Ours).on_conflict_below(prefix("g/x"), OnConflict::Theirs);
    let (now, _) = run(both).await.unwrap();
    assert_eq!((now["g/x/zarr.json"].clone(), now["g/x/c/0/0"].as_str()), (array3(|_| ()), "g/x/c/0/0 anew"), "their array, undone here");
    assert_eq!((now["g/x/c/0/1"].as_str(), now["notes/1"].as_str()), ("plain", "ours"));

    let twice = MergeOptions::default().on_conflict_below(prefix("g"), OnConflict::Ours).on_conflict_below(prefix("g"), OnConflict::Theirs);
    assert_eq!(run(twice).await.unwrap_err().kind(), ErrorKind::Invalid);
}

/// A policy for the document of an array says nothing about its chunks, which are read by the document.
#[tokio::test]
async fn a_policy_for_a_document_alone_drops_no_other_change_of_its_array() {
    let document = |codec: &str| Set("g/x/zarr.json", array3(|d| d["codecs"] = json!(["bytes", codec])));
    let below = |text: &str, policy| MergeOptions::default().on_conflict_below(Prefix::new(text).unwrap(), policy);
    for policy in [OnConflict::Ours, OnConflict::Theirs] {
        let world = forked().await;
        commit(&world.repository, "main", &[document("zstd"), chunk("g/x/c/1/1")]).await;
        commit(&world.repository, "side", &[document("gzip"), chunk("g/x/c/1/0")]).await;
        let alone = below("g/x/zarr.json", policy);
        for options in [alone.clone(), alone.on_conflict_below(Prefix::new("g/x").unwrap(), OnConflict::Refuse)] {
            assert_eq!(named(&merge(&world, options).await.unwrap_err()), ["array g/x"], "{policy:?}");
        }
        // For everything that the losing side changed there, or for the array.
        let chunks = below("g/x/zarr.json", policy).on_conflict_below(Prefix::new("g/x/c").unwrap(), policy);
        for options in [chunks, below("g/x", policy)] {
            let merged = merge(&world, options).await.unwrap();
            assert_eq!(merged.settled.iter().map(Conflict::to_string).collect::<Vec<_>>(), ["g/x/zarr.json"]);
        }
    }
    let world = forked().await;
    commit(&world.repository, "main", &[document("zstd"), chunk("g/x/c/1/1")]).await;
    commit(&world.repository, "side", &[document("gzip"), chunk("b")]).await;
    let merged = merge(&world, below("g/x/zarr.json", OnConflict::Ours)).await.unwrap().commit().await.unwrap().snapshot;
    let now = tree(&merged).await;
    assert!(now["g/x/zarr.json"].contains("zstd") && now.contains_key("g/x/c/1/1") && now.contains_key("b"), "nothing else was lost");
}

/// A branch that moves before the merge is committed is followed as by every commit, and both parents stay.
#[tokio::test]
async fn a_merge_follows_a_branch_that_moves() {
    let world = forked().await;
    let theirs = commit(&world.repository, "side", &[chunk("g/x/c/1/0"), Set("notes/1", "theirs".to_owned())]).await;
    commit(&world.repository, "main", &[Set("notes/1", "ours".to_owned())]).await;
    let options = MergeOptions::default().on_conflict(OnConflict::Ours);
    let staged = merge(&world, options.clone()).await.unwrap();
    assert_eq!(staged.settled.iter().map(Conflict::to_string).collect::<Vec<_>>(), ["notes/1"]);
    let other = commit(&world.reopen(Access::default()).await, "main", &[Set("g/x/c/1/0", "ours".to_owned()), chunk("late")]).await;
    let done = staged.commit().await.unwrap();
    assert_eq!(done.settled.iter().map(Conflict::to_string).collect::<Vec<_>>(), ["g/x/c/1/0"]);
    assert_eq!(done.snapshot.record().parents, [other.id(), theirs.id()]);
    let now = tree(&done.snapshot).await;
    assert_eq!((now["g/x/c/1/0"].as_str(), now["notes/1"].as_str()), ("ours", "ours"));
    is_sound(&world.repository).await;

    // Without a policy it is refused, in the words of a merge.
    let theirs = commit(&world.repository, "side", &[chunk("z")]).await;
    let staged = merge(&world, MergeOptions::default()).await.unwrap();
    commit(&world.reopen(Access::default()).await, "main", &[Set("z", "ours".to_owned())]).await;
    let refused = staged.commit().await.unwrap_err();
    assert_eq!(refused.conflicts().iter().map(Conflict::to_string).collect::<Vec<_>>(), ["z"]);
    assert!(refused.to_string().contains("say whose changes stay"), "{refused}");
    // A branch that was moved to the other parent itself has everything.
    let staged = merge(&world, options).await.unwrap();
    let other = world.reopen(Access::default()).await;
    other.reset(&name("main"), &other.read_revision(&theirs.id().into()).await.unwrap()).await.unwrap();
    let done = staged.commit().await.unwrap();
    assert!(!done.is_new && done.snapshot.id() == theirs.id());
    is_sound(&world.repository).await;
}

type Model = BTreeMap<String, u32>;

/// What a three-way merge comes to, key by key: the result, and the keys in conflict.
fn model_merge(base: &Model, ours: &Model, theirs: &Model) -> (Model, BTreeSet<String>) {
    let keys: BTreeSet<_> = base.keys().chain(ours.keys()).chain(theirs.keys()).cloned().collect();
    let (mut merged, mut conflicts) = (Model::new(), BTreeSet::new());
    for key in keys {
        let (before, here, there) = (base.get(&key), ours.get(&key), theirs.get(&key));
        let now = if there == before { here } else { there };
        if here != before && there != before && here != there {
            conflicts.insert(key.clone());
        }
        now.map(|now| merged.insert(key, *now));
    }
    (merged, conflicts)
}

async fn write(repository: &Repository, branch: &str, old: &Model, new: &Model) -> Snapshot {
    let session = repository.write(branch).await.unwrap();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        session.delete(&key(name)).await.unwrap();
    }
    for (name, value) in new.iter().filter(|(name, value)| old.get(*name) != Some(value)) {
        // Long values are chunks, short ones lie in the manifest.
        session.set(&key(name), value.to_string().repeat(if value % 2 == 0 { 1 } else { 2000 })).await.unwrap();
    }
    session.commit(firnline::CommitOptions::from("step").allow_empty()).await.unwrap()
}

#[tokio::test]
async fn random_merges_are_three_way_by_key_from_either_side() {
    let mut random = SmallRng::seed_from_u64(1);
    let (mut clean, mut refused) = (0, 0);
    for _ in 0..count("FIRN_MERGES", 40, 2000) {
        let world = World::new().await;
        let mut edit = |from: &Model, changes: usize| {
            let mut model = from.clone();
            for _ in 0..changes {
                let name = format!("k{}/{}", random.random_range(0..3), random.random_range(0..12));
                match random.random_range(0..4) {
                    0 => drop(model.remove(&name)),
                    value => drop(model.insert(name, value)),
                }
            }
            model
        };
        let base = edit(&Model::new(), 30);
        let (ours, theirs) = (edit(&base, 4), edit(&base, 4));
        let start = write(&world.repository, "main", &Model::new(), &base).await;
        world.repository.create_branch(&name("side"), &start).await.unwrap();
        let ours_id = write(&world.repository, "main", &base, &ours).await;
        let theirs_id = write(&world.repository, "side", &base, &theirs).await;
        let (merged, conflicts) = model_merge(&base, &ours, &theirs);
        for (into, other) in [("main", &theirs_id), ("side", &ours_id)] {
            let found = world.repository.merge(&name(into), other, MergeOptions::default()).await;
            if conflicts.is_empty() {
                clean += 1;
                let snapshot = found.unwrap().commit().await.unwrap().snapshot;
                // The content id of a bulk build of what the model says.
                let fresh = World::new().await;
                let expected = write(&fresh.repository, "main", &Model::new(), &merged).await;
                assert_eq!(snapshot.record().manifest, expected.record().manifest);
            } else {
                refused += 1;
                assert_eq!(named(&found.unwrap_err()).into_iter().collect::<BTreeSet<_>>(), conflicts);
            }
        }
    }
    assert!(clean > 10 && refused > 10, "{clean} clean, {refused} refused");
}

#[tokio::test]
async fn several_common_ancestors_need_a_named_base() {
    let world = forked().await;
    let one = commit(&world.repository, "main", &[Set("k", "main".to_owned())]).await;
    let two = commit(&world.repository, "side", &[Set("k", "side".to_owned())]).await;
    // Each is merged into the other, from the states before, and settled differently.
    let ours = MergeOptions::default().on_conflict(OnConflict::Ours);
    world.repository.merge(&name("main"), &two, ours.clone()).await.unwrap().commit().await.unwrap();
    world.repository.merge(&name("side"), &one, ours.clone()).await.unwrap().commit().await.unwrap();
    let refused = merge(&world, ours.clone()).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && refused.to_string().contains("2 latest common ancestors"), "{refused}");
    assert!(refused.to_string().contains(&one.id().to_string()) && refused.to_string().contains(&two.id().to_string()), "{refused}");
    let merged = merge(&world, ours.base(one)).await.unwrap().commit().await.unwrap();
    assert_eq!(tree(&merged.snapshot).await["k"], "side", "from that base only the other side changed it");
}

#[tokio::test]
async fn a_commit_is_applied_elsewhere_and_taken_back() {
    let world = forked().await;
    commit(&world.repository, "side", &[chunk("first")]).await;
    let session = world.repository.write("side").await.unwrap();
    session.set(&key("g/x/c/1/0"), "picked").await.unwrap();
    session.delete(&key("notes/1")).await.unwrap();
    let options = firnline::CommitOptions::from("the good one\n\nmore").author("them");
    let picked = session.commit(options).await.unwrap();
    let before = commit(&world.repository, "main", &[chunk("other")]).await;
    let done =
        world.repository.cherry_pick(&name("main"), &picked, MergeOptions::default()).await.unwrap().commit().await.unwrap().snapshot;
    let record = done.record();
    assert_eq!((record.message.as_str(), record.author.as_deref(), record.parents.len()), ("the good one\n\nmore", Some("them"), 1));
    assert_eq!(record.meta["cherry-picked-from"], picked.id().to_string());
    let now = tree(&done).await;
    assert!(now["g/x/c/1/0"] == "picked" && !now.contains_key("notes/1") && !now.contains_key("first"));

    let back = world.repository.revert(&name("main"), &done, MergeOptions::default()).await.unwrap().commit().await.unwrap().snapshot;
    assert_eq!(back.record().manifest, before.record().manifest);
    assert_eq!(back.record().message, format!("Revert \"the good one\"\n\nUndoes snapshot {}.", done.id()));
    assert_eq!(back.record().meta["reverts"], done.id().to_string());
    // What was changed since cannot be taken back by itself.
    commit(&world.repository, "side", &[Set("g/x/c/1/0", "later".to_owned())]).await;
    let refused = world.repository.revert(&name("side"), &picked, MergeOptions::default()).await.unwrap_err();
    assert_eq!(named(&refused), ["g/x/c/1/0"]);
    is_sound(&world.repository).await;

    let root = world.repository.read("main~4").await.unwrap();
    assert!(root.record().parents.is_empty());
    assert_eq!(world.repository.revert(&name("main"), &root, "x").await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_merge_is_reverted_against_a_named_parent() {
    let world = forked().await;
    let theirs = commit(&world.repository, "side", &[chunk("theirs")]).await;
    let ours = commit(&world.repository, "main", &[chunk("ours")]).await;
    let merged = merge(&world, "merged").await.unwrap().commit().await.unwrap().snapshot;
    let refused = world.repository.revert(&name("main"), &merged, MergeOptions::default()).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Invalid && refused.to_string().contains("name the parent"), "{refused}");
    let wrong = MergeOptions::default().base(merged.clone());
    assert_eq!(world.repository.revert(&name("main"), &merged, wrong).await.unwrap_err().kind(), ErrorKind::Invalid);
    let against = MergeOptions::default().base(ours.clone());
    let back = world.repository.revert(&name("main"), &merged, against).await.unwrap().commit().await.unwrap().snapshot;
    assert_eq!(back.record().manifest, ours.record().manifest);
    assert_ne!(back.record().manifest, theirs.record().manifest);
}

#[tokio::test]
async fn what_no_ref_keeps_is_not_applied() {
    let world = forked().await;
    commit(&world.repository, "side", &[chunk("theirs")]).await;
    let session = world.repository.write("side").await.unwrap();
    session.set(&key("k"), "never published").await.unwrap();
    let prepared = session.prepare("unpublished").await.unwrap();
    let unkept = world.repository.read_revision(&prepared.id().into()).await.unwrap();
    for refused in [
        world.repository.merge(&name("main"), &unkept, "x").await.unwrap_err(),
        world.repository.cherry_pick(&name("main"), &unkept, "x").await.unwrap_err(),
        // Values of what the changes are counted from may be linked as well.
        world.repository.revert(&name("main"), &unkept, "x").await.unwrap_err(),
        merge(&world, MergeOptions::default().base(unkept.clone())).await.unwrap_err(),
    ] {
        assert!(refused.kind() == ErrorKind::Invalid && refused.to_string().contains("kept by no branch"), "{refused}");
    }
    assert_eq!(world.repository.fast_forward(&name("main"), &unkept).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn many_commits_become_one_and_the_move_is_recorded() {
    let world = forked().await;
    let onto = world.repository.read("main").await.unwrap();
    for n in 0..3 {
        world.clock.advance(std::time::Duration::from_secs(1));
        commit(&world.repository, "main", &[Set("n", n.to_string()), chunk("m")]).await;
    }
    let before = world.repository.read("main").await.unwrap();
    world.clock.advance(std::time::Duration::from_secs(1));
    let squashed = world.repository.squash(&name("main"), &onto, "three at once").await.unwrap();
    let record = squashed.snapshot.record();
    assert_eq!((record.manifest, record.parents.as_slice()), (before.record().manifest, &[onto.id()][..]));
    assert_eq!((record.message.as_str(), record.meta["squashed-from"].as_str()), ("three at once", before.id().to_string().as_str()));
    assert_eq!(
        (squashed.moved.op, squashed.moved.from, squashed.moved.to),
        (MoveOp::Squash, Some(before.id()), Some(squashed.snapshot.id()))
    );
    assert_eq!(world.repository.read("main").await.unwrap().id(), squashed.snapshot.id());
    // What was shown then is still shown then.
    let then = world.repository.read(&format!("main@{}", before.record().time)).await.unwrap();
    assert_eq!(then.id(), before.id());
    is_sound(&world.repository).await;
    for wrong in [&squashed.snapshot, &before] {
        assert_eq!(world.repository.squash(&name("main"), wrong, "x").await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    world.repository.undo(&name("main")).await.unwrap();
    assert_eq!(world.repository.read("main").await.unwrap().id(), before.id());
}

#[tokio::test]
async fn a_branch_is_moved_forward_only() {
    let world = forked().await;
    let start = world.repository.read("main").await.unwrap();
    let theirs = commit(&world.repository, "side", &[chunk("theirs")]).await;
    let moved = world.repository.fast_forward(&name("main"), &theirs).await.unwrap().unwrap();
    assert_eq!((moved.op, moved.from, moved.to), (MoveOp::FastForward, Some(start.id()), Some(theirs.id())));
    assert_eq!(world.repository.fast_forward(&name("main"), &start).await.unwrap(), None);
    commit(&world.repository, "main", &[chunk("ours")]).await;
    let ahead = commit(&world.repository, "side", &[chunk("more")]).await;
    let refused = world.repository.fast_forward(&name("main"), &ahead).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && refused.to_string().contains("merge it instead"), "{refused}");
    let all = world.repository.moves(&Ref::branch(name("main"))).await.unwrap();
    assert_eq!(all.iter().map(|m| m.op).collect::<Vec<_>>(), [MoveOp::Create, MoveOp::FastForward]);
}

fn pinned(world: &World, size: u64) -> VirtualOptions {
    let mut validator = firnline::Validator::staged_at(firnline::Clock::now(&*world.clock));
    (validator.size, validator.etag) = (Some(size), Some(format!("e{size}").into_bytes()));
    VirtualOptions::default().validator(validator)
}

/// References, the states of their files and their containers are merged too, and counted again.
#[tokio::test]
async fn references_are_merged_with_the_states_of_their_files() {
    let url = |n: u32| format!("file:///data/{n}.nc");
    let start = async || {
        let world = World::new().await;
        let session = world.repository.write("main").await.unwrap();
        for n in 0..3 {
            session.set_virtual_with(&key(&format!("v/{n}")), &url(n), 0..5, &pinned(&world, 10)).await.unwrap();
        }
        let start = session.commit("start").await.unwrap();
        world.repository.create_branch(&name("side"), &start).await.unwrap();
        world
    };
    // One side points into a file anew, adds a file and pins one in another state; the other adds a reference and drops one.
    let world = start().await;
    let session = world.repository.write("side").await.unwrap();
    session.set_virtual_with(&key("v/9"), &url(9), 0..7, &pinned(&world, 20)).await.unwrap();
    session.set_virtual_with(&key("w/1"), &url(1), 3..4, &pinned(&world, 11).repin()).await.unwrap();
    session.commit("side").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual_with(&key("w/2"), &url(2), 1..3, &pinned(&world, 10)).await.unwrap();
    session.delete(&key("v/0")).await.unwrap();
    session.commit("main").await.unwrap();
    let merged = merge(&world, "merged").await.unwrap().commit().await.unwrap().snapshot;
    let files: Vec<_> = merged.dependencies().try_collect().await.unwrap();
    let told: Vec<_> = files.iter().map(|f| (f.url.as_str(), f.record.refs, f.record.bytes, f.record.size)).collect();
    assert_eq!(told, [("file:///data/1.nc", 2, 6, Some(11)), ("file:///data/2.nc", 2, 7, Some(10)), ("file:///data/9.nc", 1, 7, Some(20))]);
    is_sound(&world.repository).await;

    // Two states of one file, and a reference to the state that the other side left, are conflicts, whatever the policy.
    for other in [("v/7", pinned(&world, 12).repin()), ("v/7", pinned(&world, 10))] {
        for turned in [false, true] {
            let world = start().await;
            let (one, two) = if turned { ("main", "side") } else { ("side", "main") };
            let session = world.repository.write(one).await.unwrap();
            session.set_virtual_with(&key("w/1"), &url(1), 3..4, &pinned(&world, 11).repin()).await.unwrap();
            session.commit("one").await.unwrap();
            let session = world.repository.write(two).await.unwrap();
            session.set_virtual_with(&key(other.0), &url(1), 3..4, &other.1).await.unwrap();
            session.commit("two").await.unwrap();
            let refused = merge(&world, MergeOptions::default().on_conflict(OnConflict::Ours)).await.unwrap_err();
            assert!(refused.kind() == ErrorKind::Conflict && named(&refused)[0].starts_with("file "), "{refused}");
        }
    }
}

/// A container that one side removed and the other one uses is a conflict, and no error of the commit.
#[tokio::test]
async fn a_removed_container_that_the_other_side_uses_is_a_conflict() {
    for turned in [false, true] {
        let world = World::new().await;
        let (one, two) = if turned { ("main", "side") } else { ("side", "main") };
        let container = firnline::Container {
            name: "nemo".to_owned(),
            template: "file:///data/nemo/{}".to_owned(),
            defaults: BTreeMap::new(),
            options: BTreeMap::new(),
        };
        let session = world.repository.write("main").await.unwrap();
        session.set_container(container).unwrap();
        let start = session.commit("start").await.unwrap();
        world.repository.create_branch(&name("side"), &start).await.unwrap();
        let session = world.repository.write(one).await.unwrap();
        session.remove_container("nemo").await.unwrap();
        session.commit("removed").await.unwrap();
        let session = world.repository.write(two).await.unwrap();
        session.set_virtual_with(&key("v"), "file:///data/nemo/1.nc", 0..5, &pinned(&world, 10)).await.unwrap();
        session.commit("used").await.unwrap();
        let refused = merge(&world, MergeOptions::default()).await.unwrap_err();
        assert_eq!(named(&refused), ["container nemo"], "{refused}");
    }
}

/// What the two sides recorded of one state of a file is kept together.
#[tokio::test]
async fn facts_about_one_state_of_a_file_are_joined() {
    let world = World::new().await;
    let url = "file:///data/a.nc";
    let pin = |version: Option<&str>, modified: Option<firnline::Timestamp>| {
        let mut options = pinned(&world, 10).repin();
        let validator = options.validator.as_mut().unwrap();
        (validator.version, validator.modified) = (version.map(str::to_owned), modified);
        options
    };
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual_with(&key("a"), url, 0..5, &pin(None, None)).await.unwrap();
    let start = session.commit("start").await.unwrap();
    world.repository.create_branch(&name("side"), &start).await.unwrap();
    let date = Some(firnline::Timestamp::from_micros(start.record().time.micros() - 10_000_000));
    for (branch, options) in [("main", pin(Some("v"), None)), ("side", pin(None, date))] {
        let session = world.repository.write(branch).await.unwrap();
        session.set_virtual_with(&key(branch), url, 0..5, &options).await.unwrap();
        session.commit("more is known").await.unwrap();
    }
    let merged = merge(&world, "merged").await.unwrap().commit().await.unwrap().snapshot;
    let files: Vec<_> = merged.dependencies().try_collect().await.unwrap();
    assert_eq!((files.len(), files[0].record.refs), (1, 3));
    assert_eq!((files[0].record.version.as_deref(), files[0].record.modified), (Some("v"), date));
    is_sound(&world.repository).await;
}

/// A file that one side gave another name, while the other pinned it anew, would lose the pin.
#[tokio::test]
async fn a_file_that_was_renamed_on_one_side_and_pinned_anew_on_the_other_is_a_conflict() {
    for turned in [false, true] {
        let (one, two) = if turned { ("main", "side") } else { ("side", "main") };
        let world = World::new().await;
        let session = world.repository.write("main").await.unwrap();
        for n in 0..3 {
            let url = format!("s3://b/long/way/{n}.nc");
            session.set_virtual_with(&key(&format!("v/{n}")), &url, 0..5, &pinned(&world, 10)).await.unwrap();
        }
        let start = session.commit("start").await.unwrap();
        world.repository.create_branch(&name("side"), &start).await.unwrap();
        let container = firnline::Container {
            name: "way".to_owned(),
            template: "s3://b/long/way/{}.nc".to_owned(),
            defaults: BTreeMap::new(),
            options: BTreeMap::new(),
        };
        let session = world.repository.write(one).await.unwrap();
        session.rename_files(&[container]).await.unwrap();
        session.commit("shorter").await.unwrap();
        let session = world.repository.write(two).await.unwrap();
        session.set_virtual_with(&key("v/1"), "s3://b/long/way/1.nc", 0..5, &pinned(&world, 11).repin()).await.unwrap();
        session.set_virtual_with(&key("w"), "s3://b/long/way/1.nc", 0..5, &pinned(&world, 11).repin()).await.unwrap();
        session.delete(&key("v/1")).await.unwrap();
        session.commit("pinned anew").await.unwrap();
        let refused = merge(&world, MergeOptions::default().on_conflict(OnConflict::Ours)).await.unwrap_err();
        assert!(refused.kind() == ErrorKind::Conflict && named(&refused).iter().any(|name| name.starts_with("file ")), "{refused}");
    }
}
