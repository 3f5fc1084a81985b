//! Which commit last changed each array or key, and which version is the first bad one.

use std::collections::BTreeMap;

use firnline::storage::{Memory, Observed};
use firnline::{BisectVerdict, Blamed, CreateOptions, ErrorKind, KeyOrPrefix, OpenOptions, Prefix, Repository, Snapshot};
use futures::TryStreamExt;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::conflicts::Do::{Delete, Set};
use crate::conflicts::{array2, array3, chunk, group3};
use crate::limits::count;
use crate::merging::{commit, name};
use crate::support::{World, key};

fn told(blamed: &[Blamed], commits: &[Snapshot]) -> BTreeMap<String, usize> {
    let number = |one: &Blamed| commits.iter().position(|snapshot| snapshot.id() == one.commit.id).unwrap();
    let shown = |name: &KeyOrPrefix| match name {
        KeyOrPrefix::Key(key) => key.to_string(),
        KeyOrPrefix::Prefix(prefix) => prefix.to_string(),
    };
    blamed.iter().map(|one| (shown(&one.name), number(one))).collect()
}

fn expected(rows: &[(&str, usize)]) -> BTreeMap<String, usize> {
    rows.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect()
}

#[tokio::test]
async fn each_array_and_each_key_outside_of_arrays_is_told_with_its_last_commit() {
    let world = World::new().await;
    let repository = &world.repository;
    let start = [
        Set("zarr.json", group3()),
        Set("x/zarr.json", array3(|_| ())),
        chunk("x/c/0/0"),
        chunk("x/c/0/1"),
        Set("y/.zarray", array2(|_| ())),
        chunk("y/0.0"),
        chunk("notes/1"),
        Set("z/zarr.json", array3(|_| ())),
        chunk("z/c/0"),
    ];
    let steps = [
        start.to_vec(),
        vec![chunk("notes/2"), Set("x/c/0/1", "b".to_owned())],
        vec![Set("z/c/0", "changed".to_owned())],
        vec![Delete("x/c/0/0")],
        // As it was two versions before: a search by halves between equal versions would miss both commits.
        vec![chunk("z/c/0")],
        vec![Set("other", "1".to_owned())],
    ];
    let mut commits = Vec::new();
    for step in &steps {
        commits.push(commit(repository, "main", step).await);
    }
    let tip = repository.read("main").await.unwrap();
    let blame = async |prefix: &str| told(&tip.blame(&Prefix::new(prefix).unwrap()).await.unwrap(), &commits);
    let all = [("notes/1", 0), ("notes/2", 1), ("other", 5), ("x/", 3), ("y/", 0), ("z/", 4), ("zarr.json", 0)];
    assert_eq!(blame("").await, expected(&all));
    assert_eq!(blame("notes").await, expected(&all[..2]));
    assert_eq!(blame("x/c").await, expected(&[("x/c/", 3)]), "inside of an array");
    let keys: Vec<_> = tip.blame_keys(&Prefix::new("x").unwrap()).await.unwrap().try_collect().await.unwrap();
    assert_eq!(told(&keys, &commits), expected(&[("x/c/0/1", 1), ("x/zarr.json", 0)]));
    let keys: Vec<_> = tip.blame_keys(&Prefix::new("z").unwrap()).await.unwrap().try_collect().await.unwrap();
    assert_eq!(told(&keys, &commits), expected(&[("z/c/0", 4), ("z/zarr.json", 0)]));
    assert!(keys.iter().all(|one| one.is_known));
    assert_eq!(tip.blame(&Prefix::new("none").unwrap()).await.unwrap_err().kind(), ErrorKind::NotFound);
    // A merge is named for what it brought.
    repository.create_branch(&name("side"), &tip).await.unwrap();
    let theirs = commit(repository, "side", &[chunk("y/1.1")]).await;
    let merged = repository.merge(&name("main"), &theirs, "merged").await.unwrap().commit().await.unwrap().snapshot;
    commits.push(merged.clone());
    assert_eq!(told(&merged.blame(&Prefix::new("y").unwrap()).await.unwrap(), &commits), expected(&[("y/", 6)]));
}

/// Random lines against a model that keeps the last commit of everything.
#[tokio::test]
async fn blame_is_what_a_model_noted_at_each_commit() {
    let mut random = SmallRng::seed_from_u64(3);
    for _ in 0..count("FIRN_BLAMES", 4, 100) {
        let world = World::new().await;
        let (mut tree, mut keys, mut arrays) = (BTreeMap::<String, u32>::new(), BTreeMap::new(), BTreeMap::new());
        let mut commits = Vec::new();
        for at in 0..random.random_range(2..30) {
            let session = world.repository.write("main").await.unwrap();
            if at == 0 {
                for array in ["a", "b", "c10"] {
                    session.set(&key(&format!("{array}/zarr.json")), array3(|_| ())).await.unwrap();
                }
            }
            let before = tree.clone();
            for _ in 0..random.random_range(1..6) {
                let name = format!("{}/c/{}", ["a", "b", "c10"][random.random_range(0..3)], random.random_range(0..400));
                match random.random_range(0..4) {
                    0 => {
                        session.delete(&key(&name)).await.unwrap();
                        tree.remove(&name);
                    }
                    value => {
                        session.set(&key(&name), value.to_string()).await.unwrap();
                        tree.insert(name, value);
                    }
                }
            }
            for array in ["a/", "b/", "c10/"] {
                let of = |tree: &BTreeMap<String, u32>| {
                    tree.iter().filter(|(k, _)| k.starts_with(array)).map(|(k, v)| (k.clone(), *v)).collect::<Vec<_>>()
                };
                if at == 0 || of(&before) != of(&tree) {
                    arrays.insert(array.to_owned(), at);
                }
            }
            keys.retain(|name, _| tree.contains_key(name));
            for (name, value) in &tree {
                if before.get(name) != Some(value) {
                    keys.insert(name.clone(), at);
                }
            }
            commits.push(session.commit(firnline::CommitOptions::from("step").allow_empty()).await.unwrap());
        }
        let tip = world.repository.read("main").await.unwrap();
        assert_eq!(told(&tip.blame(&Prefix::all()).await.unwrap(), &commits), arrays);
        assert_eq!(told(&tip.recorded_blame(&Prefix::all()).await.unwrap(), &commits), arrays);
        let found: Vec<_> = tip.blame_keys(&Prefix::all()).await.unwrap().try_collect().await.unwrap();
        let mut found = told(&found, &commits);
        found.retain(|name, _| !name.ends_with("zarr.json"));
        assert_eq!(found, keys);
    }
}

/// An array that is found in the last commit costs no walk through it, and none through the line.
#[tokio::test]
async fn blame_reads_no_more_than_it_needs() {
    let observed = std::sync::Arc::new(Observed::new(std::sync::Arc::new(Memory::new())));
    let storage: std::sync::Arc<dyn firnline::storage::Storage> = observed.clone();
    let repository = Repository::create_storage(storage.clone(), CreateOptions::default()).await.unwrap();
    let session = repository.write("main").await.unwrap();
    for array in ["a", "b"] {
        session.set(&key(&format!("{array}/zarr.json")), array3(|_| ())).await.unwrap();
        for n in 0..5000 {
            session.set(&key(&format!("{array}/c/{n}")), n.to_string()).await.unwrap();
        }
    }
    session.commit("filled").await.unwrap();
    for n in 0..30 {
        commit(&repository, "main", &[Set("n", n.to_string())]).await;
    }
    let session = repository.write("main").await.unwrap();
    session.delete_prefix(&Prefix::new("a/c").unwrap());
    session.set(&key("a/c/0"), "anew").await.unwrap();
    session.commit("a anew").await.unwrap();
    let fresh = Repository::open_storage(storage, OpenOptions::default()).await.unwrap();
    let tip = fresh.read("main").await.unwrap();
    let before = observed.counts();
    let blamed = tip.blame(&Prefix::new("a").unwrap()).await.unwrap();
    assert_eq!(blamed[0].commit.summary, "a anew");
    let cost = observed.counts().since(&before);
    assert!(cost.gets < 60, "{cost:?}");
}

/// A commit that is lost in the middle of a line is damage, and not the end of what this repository has.
#[tokio::test]
async fn a_lost_commit_is_not_where_a_history_begins() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let repository = Repository::create(place).await.unwrap();
    for n in 0..8 {
        commit(&repository, "main", &[Set(if n == 0 { "first" } else { "n" }, n.to_string())]).await;
    }
    let lost = repository.read("main~4").await.unwrap().id().to_string();
    std::fs::remove_file(folder.path().join("snapshots").join(lost.get(8..10).unwrap()).join(&lost)).unwrap();
    let tip = Repository::open(place).await.unwrap().read("main").await.unwrap();
    let told = tip.blame(&Prefix::all()).await.unwrap_err();
    assert!(told.kind() == ErrorKind::Corrupt && told.to_string().contains(&lost), "{told}");
    let told = tip.blame_keys(&Prefix::all()).await.err().unwrap();
    assert_eq!(told.kind(), ErrorKind::Corrupt, "{told}");
}

#[tokio::test]
async fn the_first_bad_version_is_found_on_the_line() {
    let world = World::new().await;
    let mut commits = Vec::new();
    for n in 0..20 {
        commits.push(world.put("n", &n.to_string()).await);
    }
    let mut search = commits[19].bisect(&commits[2]).await.unwrap();
    assert_eq!(search.suspects().len(), 17);
    let mut looks = 0;
    while let Some(next) = search.next().cloned() {
        looks += 1;
        let then = world.repository.read_revision(&next.id.into()).await.unwrap();
        let n: u32 = String::from_utf8(then.get(&key("n")).await.unwrap().unwrap().to_vec()).unwrap().parse().unwrap();
        search.mark(next.id, if n >= 11 { BisectVerdict::Bad } else { BisectVerdict::Good });
    }
    assert_eq!((search.suspects().len(), search.suspects()[0].id), (1, commits[11].id()));
    assert!(looks <= 5, "{looks}");
    assert_eq!(commits[2].bisect(&commits[19]).await.unwrap_err().kind(), ErrorKind::Invalid);
}
