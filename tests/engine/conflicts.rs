//! The Zarr rule of rebase, rule by rule, and what the policies make of it.

use firnline::storage::{Memory, Observed};
use firnline::{Access, CommitError, CommitOptions, Committed, ConflictKind, CreateOptions, OnConflict, OpenOptions, Prefix, Repository};
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::support::{World, conflicts, key};

/// One change of a session.
#[derive(Debug, Clone)]
pub(crate) enum Do {
    Set(&'static str, String),
    Delete(&'static str),
    DeleteBelow(&'static str),
}

use Do::{Delete, DeleteBelow, Set};

pub(crate) fn chunk(name: &'static str) -> Do {
    Set(name, format!("{name} anew"))
}

pub(crate) fn array3(change: impl FnOnce(&mut Value)) -> String {
    let mut document = json!({
        "zarr_format": 3, "node_type": "array", "shape": [10, 20], "data_type": "int32",
        "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": [5, 5] } },
        "chunk_key_encoding": { "name": "default" }, "fill_value": 0, "codecs": ["bytes"]
    });
    change(&mut document);
    document.to_string()
}

pub(crate) fn array2(change: impl FnOnce(&mut Value)) -> String {
    let mut document = json!({
        "zarr_format": 2, "shape": [10, 20], "chunks": [5, 5], "dtype": "<i4", "compressor": null,
        "filters": null, "order": "C", "fill_value": 0
    });
    change(&mut document);
    document.to_string()
}

pub(crate) fn group3() -> String {
    json!({ "zarr_format": 3, "node_type": "group" }).to_string()
}

/// A group `g` with an array `g/x` of version 3 and one `g/y` of version 2, and a key that is no business of Zarr.
pub(crate) fn hierarchy() -> Vec<Do> {
    vec![
        Set("zarr.json", group3()),
        Set("g/zarr.json", group3()),
        Set("g/x/zarr.json", array3(|_| ())),
        chunk("g/x/c/0/0"),
        chunk("g/x/c/0/1"),
        Set("g/y/.zarray", array2(|_| ())),
        Set("g/y/.zattrs", "{}".to_owned()),
        chunk("g/y/0.0"),
        chunk("g/y/0.1"),
        chunk("notes/1"),
    ]
}

async fn commit(repository: &Repository, changes: &[Do], options: CommitOptions) -> Result<Committed, Box<CommitError>> {
    let mut session = repository.write("main").await.unwrap();
    stage(&mut session, changes).await;
    session.commit_settling(options).await
}

pub(crate) async fn stage(session: &mut firnline::WriteSession, changes: &[Do]) {
    for change in changes {
        match change {
            Set(name, value) => session.set(&key(name), value.clone()).await.unwrap(),
            Delete(name) => assert!(session.delete(&key(name)).await.unwrap(), "{name}"),
            DeleteBelow(prefix) => session.delete_prefix(&Prefix::new(prefix).unwrap()),
        }
    }
}

/// What a commit of `ours` comes to when `theirs` was committed first, and the repository.
async fn race(theirs: &[Do], ours: &[Do], policy: OnConflict) -> (Result<Committed, Box<CommitError>>, Repository) {
    let world = World::new().await;
    commit(&world.repository, &hierarchy(), "the hierarchy".into()).await.unwrap();
    let mut mine = world.repository.write("main").await.unwrap();
    stage(&mut mine, ours).await;
    commit(&world.reopen(Access::default()).await, theirs, "theirs".into()).await.unwrap();
    (mine.commit_settling(CommitOptions::from("ours").on_conflict(policy)).await, world.repository)
}

/// What both sides changed in common, by name.
async fn found(theirs: &[Do], ours: &[Do]) -> Vec<String> {
    match race(theirs, ours, OnConflict::Refuse).await.0 {
        Ok(committed) => {
            assert!(committed.settled.is_empty());
            Vec::new()
        }
        Err(failed) => conflicts(&failed),
    }
}

#[tokio::test]
async fn structure_and_chunks_conflict_whichever_side_changed_which() {
    let x = |change: fn(&mut Value)| vec![Set("g/x/zarr.json", array3(change))];
    let y = |change: fn(&mut Value)| vec![Set("g/y/.zarray", array2(change))];
    let (in_x, in_y) = (vec![chunk("g/x/c/1/0")], vec![chunk("g/y/1.1")]);
    let none: &[&str] = &[];
    let rows: Vec<(Vec<Do>, Vec<Do>, &[&str])> = vec![
        (x(|d| d["codecs"] = json!(["bytes", "zstd"])), in_x.clone(), &["array g/x"]),
        (x(|d| d["shape"] = json!([10, 19])), in_x.clone(), &["array g/x"]),
        (x(|d| d["shape"] = json!([10])), in_x.clone(), &["array g/x"]),
        (x(|d| d["shape"] = json!([11, 20])), in_x.clone(), none),
        (x(|d| d["attributes"] = json!({ "units": "K" })), in_x.clone(), none),
        (x(|d| d["codecs"] = json!(["bytes", "zstd"])), in_y.clone(), none),
        (vec![Set("g/x/zarr.json", "no document".to_owned())], in_x.clone(), &["array g/x"]),
        (vec![Set("g/x/zarr.json", group3())], in_x.clone(), &["array g/x"]),
        (x(|d| d["codecs"] = json!(["bytes", "zstd"])), vec![Delete("g/x/c/0/0")], &["array g/x"]),
        (x(|d| d["codecs"] = json!(["bytes", "zstd"])), vec![DeleteBelow("g/x/c")], &["array g/x"]),
        (y(|d| d["dtype"] = "<f8".into()), in_y.clone(), &["array g/y"]),
        (y(|d| d["shape"] = json!([9, 20])), in_y.clone(), &["array g/y"]),
        (y(|d| d["shape"] = json!([10, 25])), in_y.clone(), none),
        (y(|d| d["filters"] = json!([])), in_y.clone(), none),
        (vec![Set("g/y/.zattrs", "{\"units\":\"K\"}".to_owned())], in_y.clone(), none),
        (y(|d| d["dtype"] = "<f8".into()), vec![Set("g/y/.zattrs", "{\"units\":\"K\"}".to_owned())], none),
        // A document for chunks that lay there without one.
        (vec![Set("notes/zarr.json", array3(|_| ()))], vec![chunk("notes/2")], &["array notes"]),
        (vec![Set("notes/zarr.json", group3())], vec![chunk("notes/2")], none),
    ];
    for (structure, chunks, expected) in rows {
        assert_eq!(found(&structure, &chunks).await, expected, "{structure:?}, then {chunks:?}");
        assert_eq!(found(&chunks, &structure).await, expected, "{chunks:?}, then {structure:?}");
    }
}

#[tokio::test]
async fn what_is_deleted_conflicts_with_what_is_set_below_it() {
    let array_below = vec![Set("g/new/zarr.json", array3(|_| ())), chunk("g/new/c/0/0")];
    let one_by_one = vec![Delete("g/x/zarr.json"), Delete("g/x/c/0/0"), Delete("g/x/c/0/1")];
    let below_x: &[&str] = &["array g/x"];
    // They delete, we set: it does not matter how they deleted.
    assert_eq!(found(&[DeleteBelow("g/x")], &[chunk("g/x/c/1/1")]).await, below_x);
    assert_eq!(found(&one_by_one, &[chunk("g/x/c/1/1")]).await, below_x);
    assert_eq!(found(&[DeleteBelow("g/y")], &[Set("g/y/new/.zgroup", "{\"zarr_format\":2}".to_owned())]).await, ["array g/y"]);
    assert_eq!(found(&[DeleteBelow("g")], &array_below).await, ["group g"]);
    assert_eq!(found(&[DeleteBelow("g")], &[chunk("g/x/c/1/1")]).await, ["array g/x", "group g"]);
    // We delete, they set: a prefix names the keys, single keys the node.
    assert_eq!(found(&[chunk("g/x/c/1/1")], &one_by_one).await, below_x);
    assert_eq!(found(&[chunk("g/x/c/1/1")], &[DeleteBelow("g/x")]).await, ["g/x/c/1/1"]);
    assert_eq!(found(&array_below, &[Delete("g/zarr.json")]).await, ["group g"]);
    // Both deleted: nothing is lost. Below a prefix that no document made a node, single keys are all a difference shows.
    assert_eq!(found(&[DeleteBelow("g/x")], &[Delete("g/x/c/0/0")]).await, [""; 0]);
    assert_eq!(found(&[DeleteBelow("g")], &[DeleteBelow("g/x")]).await, [""; 0]);
    assert_eq!(found(&[DeleteBelow("notes")], &[chunk("notes/2")]).await, [""; 0]);
    // Another array is another matter.
    assert_eq!(found(&[DeleteBelow("g/x")], &[chunk("g/y/1.1")]).await, [""; 0]);
}

#[tokio::test]
async fn what_both_sides_made_alike_agrees() {
    let made = [Set("n/zarr.json", array3(|_| ()))];
    let with = |name: &'static str| [made.as_slice(), &[chunk(name)]].concat();
    assert_eq!(found(&with("n/c/0/0"), &with("n/c/0/1")).await, [""; 0]);
    let grown = |to: u64| vec![Set("g/x/zarr.json", array3(move |d| d["shape"] = json!([to, 20])))];
    assert_eq!(found(&grown(15), &grown(20)).await, ["g/x/zarr.json"], "two documents under one key");
    assert_eq!(found(&grown(15), &grown(15)).await, [""; 0]);
}

/// A chunk belongs to the nearest array above it.
#[tokio::test]
async fn a_nested_array_keeps_its_chunks_to_itself() {
    let nested = vec![Set("g/x/in/zarr.json", array3(|_| ())), chunk("g/x/in/c/0/0")];
    let outer = vec![Set("g/x/zarr.json", array3(|d| d["fill_value"] = json!(1)))];
    assert_eq!(found(&outer, &nested).await, [""; 0]);
    assert_eq!(found(&nested, &outer).await, [""; 0]);
}

#[tokio::test]
async fn a_conflict_says_what_each_did_and_where_the_shards_lie() {
    let restructured = [Set("g/x/zarr.json", array3(|d| d["codecs"] = json!(["bytes", "zstd"])))];
    let failed = race(&restructured, &[chunk("g/x/c/1/0")], OnConflict::Refuse).await.0.unwrap_err();
    assert_eq!((failed.conflicts()[0].kind, failed.conflicts()[0].name.as_str()), (ConflictKind::Array, "g/x"));
    let told = failed.to_string();
    assert!(told.contains("array g/x (given another codecs by the other side, while g/x/c/1/0 was set here)"), "{told}");
    assert!(told.contains("--on-conflict ours or theirs"), "{told}");

    let sharding = json!([{ "name": "sharding_indexed", "configuration": { "chunk_shape": [1, 1], "codecs": ["bytes"] } }]);
    let world = World::new().await;
    let sharded = [Set("s/zarr.json", array3(|d| d["codecs"] = sharding))];
    commit(&world.repository, &sharded, "sharded".into()).await.unwrap();
    let mut mine = world.repository.write("main").await.unwrap();
    stage(&mut mine, &[Set("s/c/0/0", "mine".to_owned())]).await;
    commit(&world.repository, &[Set("s/c/0/0", "theirs".to_owned())], "theirs".into()).await.unwrap();
    let told = mine.commit("mine").await.unwrap_err().to_string();
    assert!(told.contains("s/c/0/0 (a shard of array s, whose writers meet unless they keep to its shard grid [5, 5])"), "{told}");
}

/// Every key of a snapshot with its value.
pub(crate) async fn tree(repository: &Repository) -> std::collections::BTreeMap<String, String> {
    let snapshot = repository.read("main").await.unwrap();
    let keys: Vec<_> = snapshot.list(&Prefix::all()).try_collect().await.unwrap();
    let mut tree = std::collections::BTreeMap::new();
    for (key, _) in keys {
        let value = snapshot.get(&key).await.unwrap().unwrap();
        tree.insert(key.to_string(), String::from_utf8(value.to_vec()).unwrap());
    }
    tree
}

#[tokio::test]
async fn a_policy_decides_about_whole_arrays_where_half_would_be_neithers() {
    let codecs = array3(|d| d["codecs"] = json!(["bytes", "zstd"]));
    let theirs = [Set("g/x/zarr.json", codecs.clone()), Set("g/x/c/0/0", "compressed".to_owned()), chunk("notes/3")];
    let ours = [Set("g/x/c/0/1", "plain".to_owned()), Set("notes/2", "kept".to_owned())];

    let (committed, repository) = race(&theirs, &ours, OnConflict::Theirs).await;
    let committed = committed.unwrap();
    assert_eq!(committed.settled.iter().map(ToString::to_string).collect::<Vec<_>>(), ["array g/x"]);
    let now = tree(&repository).await;
    assert_eq!((&now["g/x/zarr.json"], now["g/x/c/0/0"].as_str()), (&codecs, "compressed"));
    assert_eq!(now["g/x/c/0/1"], "g/x/c/0/1 anew", "our chunk would not be read by their codecs");
    assert_eq!(now["notes/2"], "kept");

    let (committed, repository) = race(&theirs, &ours, OnConflict::Ours).await;
    assert!(committed.unwrap().is_new);
    let now = tree(&repository).await;
    assert_eq!((now["g/x/zarr.json"].clone(), now["g/x/c/0/0"].as_str()), (array3(|_| ()), "g/x/c/0/0 anew"));
    assert_eq!((now["g/x/c/0/1"].as_str(), now["notes/2"].as_str()), ("plain", "kept"));
    assert_eq!(now["notes/3"], "notes/3 anew", "what is in no conflict stays");
}

#[tokio::test]
async fn a_policy_decides_about_keys_one_by_one() {
    let theirs = [Set("notes/1", "theirs".to_owned()), chunk("notes/3")];
    let ours = [Set("notes/1", "ours".to_owned()), chunk("notes/2")];
    for (policy, winner) in [(OnConflict::Ours, "ours"), (OnConflict::Theirs, "theirs")] {
        let (committed, repository) = race(&theirs, &ours, policy).await;
        assert_eq!(committed.unwrap().settled[0].name, "notes/1");
        let now = tree(&repository).await;
        assert_eq!(now["notes/1"], winner);
        assert!(now.contains_key("notes/2") && now.contains_key("notes/3"), "{now:?}");
    }
    // When nothing of ours is left there is nothing to commit.
    let (committed, repository) = race(&theirs, &ours[..1], OnConflict::Theirs).await;
    let committed = committed.unwrap();
    assert!(!committed.is_new && committed.settled.len() == 1);
    assert_eq!(committed.snapshot.id(), repository.read("main").await.unwrap().id());
}

#[tokio::test]
async fn a_deleted_prefix_is_won_or_lost_as_a_whole() {
    let theirs = [chunk("g/x/c/1/1")];
    let ours = [DeleteBelow("g"), Set("g/zarr.json", group3()), chunk("g/z")];
    let (committed, repository) = race(&theirs, &ours, OnConflict::Theirs).await;
    committed.unwrap();
    let now = tree(&repository).await;
    assert!(now.contains_key("g/x/c/1/1") && now.contains_key("g/x/zarr.json") && !now.contains_key("g/z"), "{now:?}");
    let (committed, repository) = race(&theirs, &ours, OnConflict::Ours).await;
    committed.unwrap();
    let now = tree(&repository).await;
    assert_eq!(now.keys().filter(|key| key.starts_with("g/")).collect::<Vec<_>>(), ["g/z", "g/zarr.json"]);
}

/// Two states of one file cannot both be right for the references of both sides, so no policy chooses.
#[tokio::test]
async fn no_policy_decides_about_files_and_the_session_keeps_everything() {
    let world = World::new().await;
    let pinned = |size: u64| {
        let mut options = firnline::VirtualOptions::default();
        let mut validator = firnline::Validator::staged_at(firnline::Clock::now(&*world.clock));
        validator.size = Some(size);
        options.validator = Some(validator);
        options
    };
    let url = "file:///data/a.nc";
    for policy in [OnConflict::Ours, OnConflict::Theirs] {
        commit(&world.repository, &[Set("k", format!("{policy:?}")), DeleteBelow("v")], "start".into()).await.unwrap();
        let mine = world.repository.write("main").await.unwrap();
        mine.set(&key("k"), "ours").await.unwrap();
        mine.set_virtual_with(&key("v/mine"), url, 0..5, &pinned(10)).await.unwrap();
        let theirs = world.repository.write("main").await.unwrap();
        theirs.set(&key("k"), "theirs").await.unwrap();
        theirs.set_virtual_with(&key("v/theirs"), url, 0..5, &pinned(11)).await.unwrap();
        theirs.commit("theirs").await.unwrap();
        let failed = mine.commit(CommitOptions::from("mine").on_conflict(policy)).await.unwrap_err();
        assert!(conflicts(&failed)[0].starts_with("file "), "{failed}");
        assert!(failed.to_string().contains("no --on-conflict"), "{failed}");
        let mine = failed.into_session();
        assert_eq!(mine.get(&key("k")).await.unwrap().unwrap().as_ref(), b"ours", "{policy:?}: nothing was dropped");
        // Without the reference the policy decides about the rest.
        mine.delete(&key("v/mine")).await.unwrap();
        mine.commit(CommitOptions::from("mine").on_conflict(policy)).await.unwrap();
        let winner = if policy == OnConflict::Ours { "ours" } else { "theirs" };
        let snapshot = world.repository.read("main").await.unwrap();
        assert_eq!(snapshot.get(&key("k")).await.unwrap().unwrap().as_ref(), winner.as_bytes());
    }
}

/// References that a policy brings back are counted again, and keep what was known of their file.
#[tokio::test]
async fn references_that_are_brought_back_are_counted() {
    let world = World::new().await;
    let url = "file:///data/a.nc";
    let first = world.repository.write("main").await.unwrap();
    first.set(&key("a/zarr.json"), array3(|_| ())).await.unwrap();
    first.set_virtual(&key("a/c/0/0"), url, 0..7).await.unwrap();
    first.set_virtual(&key("a/c/0/1"), url, 7..9).await.unwrap();
    let before: Vec<_> = first.commit("virtual").await.unwrap().dependencies().try_collect().await.unwrap();
    let mut mine = world.repository.write("main").await.unwrap();
    stage(&mut mine, &[Set("a/c/0/1", "native".to_owned())]).await;
    commit(&world.reopen(Access::default()).await, &[DeleteBelow("a")], "theirs".into()).await.unwrap();
    let snapshot = mine.commit(CommitOptions::from("back").on_conflict(OnConflict::Ours)).await.unwrap();
    let after: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    assert_eq!((after.len(), after[0].record.refs, after[0].record.bytes), (1, 1, 7));
    assert_eq!(after[0].record.pinned_at, before[0].record.pinned_at);
    let verified = world.repository.verify(firnline::VerifyScope::Everything).await.unwrap();
    assert_eq!(verified.found, 0);
}

/// A rebase reads the documents of arrays that both sides touched, and no others.
#[tokio::test]
async fn only_documents_that_could_matter_are_read() {
    let observed = std::sync::Arc::new(Observed::new(std::sync::Arc::new(Memory::new())));
    let storage: std::sync::Arc<dyn firnline::storage::Storage> = observed.clone();
    let options = || OpenOptions::default().without_pauses();
    let repository = Repository::create_storage(storage.clone(), CreateOptions::from(options())).await.unwrap();
    // Too long to lie inline, so that each is an object of its own.
    let long = |n: usize, fill: u64| {
        array3(|d| {
            d["fill_value"] = json!(fill);
            d["attributes"] = json!({ "history": "x".repeat(100_000 + n) });
        })
    };
    let session = repository.write("main").await.unwrap();
    for n in 0..20 {
        session.set(&key(&format!("a{n}/zarr.json")), long(n, 0)).await.unwrap();
        session.set(&key(&format!("a{n}/c/0/0")), "x").await.unwrap();
    }
    session.commit("twenty").await.unwrap();
    let mut reads = Vec::new();
    for (documents, expected) in [(0..0, true), (1..20, true), (0..1, false)] {
        let mine_at = Repository::open_storage(storage.clone(), options()).await.unwrap();
        let mine = mine_at.write("main").await.unwrap();
        mine.set(&key("a0/c/0/0"), format!("{documents:?}")).await.unwrap();
        let theirs = repository.write("main").await.unwrap();
        for n in documents.clone() {
            theirs.set(&key(&format!("a{n}/zarr.json")), long(n, 1)).await.unwrap();
        }
        theirs.set(&key("other"), format!("{documents:?}")).await.unwrap();
        theirs.commit("theirs").await.unwrap();
        let before = observed.counts();
        assert_eq!(mine.commit("mine").await.is_ok(), expected);
        reads.push(observed.counts().since(&before));
    }
    let documents = |n: usize| reads[n].bytes_read / 100_000;
    assert_eq!((documents(0), documents(1), documents(2)), (0, 0, 2), "before and after of one document: {reads:?}");
}
