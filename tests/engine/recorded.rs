//! The list of changed keys beside a snapshot: what it tells, when there is none, and that nothing rests on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use firnline::storage::fault::{Fault, Faulty, Operation};
use firnline::storage::{Memory, Observed, Storage};
use firnline::{
    Change, CommitOptions, Container, CreateOptions, ErrorKind, ImportTarget, MergeOptions, OpenOptions, Prefix, Repository, Snapshot,
    Validator, VerifyScope, VirtualOptions,
};
use futures::TryStreamExt as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{World, key};

async fn compared(old: &Snapshot, new: &Snapshot, below: &Prefix) -> Vec<Change> {
    old.diff(new, below).try_collect().await.unwrap()
}

/// What is recorded; `None` where nothing is.
async fn recorded(old: &Snapshot, new: &Snapshot, below: &Prefix) -> Option<Vec<Change>> {
    let changes = old.recorded_diff(new, below).await.unwrap()?;
    Some(changes.try_collect().await.unwrap())
}

/// What is recorded is what a comparison finds.
async fn agree(old: &Snapshot, new: &Snapshot) -> usize {
    let mut count = 0;
    for below in ["", "a", "a/b", "none"] {
        let below = Prefix::new(below).unwrap();
        let found = recorded(old, new, &below).await.expect("nothing is recorded");
        assert_eq!(found, compared(old, new, &below).await, "{} below {below:?}", new.record().message);
        count += found.len();
    }
    count
}

async fn clean(repository: &Repository) {
    assert_eq!(repository.verify(VerifyScope::Everything).await.unwrap().findings, []);
}

#[tokio::test]
async fn what_is_recorded_is_what_differs() {
    let world = World::new().await;
    let mut random = SmallRng::seed_from_u64(5);
    let mut versions = vec![world.repository.read("main").await.unwrap()];
    let mut seen = 0;
    for n in 0..40_u8 {
        let session = world.repository.write("main").await.unwrap();
        for _ in 0..=random.random_range(0..40) {
            let name = key(&format!("{}/{}", ["a", "a/b", "c"][random.random_range(0..3)], random.random_range(0..40)));
            match random.random_range(0..5) {
                0 => drop(session.delete(&name).await.unwrap()),
                1 => session.set_virtual(&name, "s3://bucket/x", random.random_range(0..9)..10).await.unwrap(),
                2 => session.set(&name, b"the same".to_vec()).await.unwrap(),
                _ => session.set(&name, vec![n; [10, 3000][random.random_range(0..2)]]).await.unwrap(),
            }
        }
        if random.random_range(0..8) == 0 {
            session.delete_prefix(&Prefix::new("a/b").unwrap());
        }
        world.clock.advance(std::time::Duration::from_secs(1));
        let version = session.commit(CommitOptions::from(format!("{n}").as_str()).allow_empty()).await.unwrap();
        seen += agree(versions.last().unwrap(), &version).await;
        versions.push(version);
    }
    assert!(seen > 500, "{seen}");
    let [.., before, last] = versions.as_slice() else { unreachable!() };
    assert_eq!(recorded(last, before, &Prefix::all()).await, None, "backwards");
    assert_eq!(recorded(&versions[0], last, &Prefix::all()).await, None, "no neighbours");
    clean(&world.repository).await;
}

#[tokio::test]
async fn containers_and_files_are_told_too() {
    let world = World::new().await;
    let container = |template: &str| {
        let (defaults, options) = (BTreeMap::new(), BTreeMap::new());
        Container { name: "nemo".to_owned(), template: template.to_owned(), defaults, options }
    };
    let pinned = |size| {
        let mut options = VirtualOptions::default();
        options.validator = Some(Validator { size: Some(size), ..Validator::staged_at(firnline::Timestamp::from_micros(1)) });
        options.repin = true;
        options
    };
    let write = async |size: u64, template: &str, more: Option<&str>| {
        let session = world.repository.write("main").await.unwrap();
        session.set_container(container(template)).unwrap();
        session.set_virtual_with(&key("a/x"), "s3://bucket/x", 0..5, &pinned(size)).await.unwrap();
        if let Some(more) = more {
            session.set(&key(more), "more").await.unwrap();
        }
        session.commit("files").await.unwrap()
    };
    let first = write(10, "s3://bucket/{}", None).await;
    let second = write(20, "s3://bucket/{}", None).await;
    let third = write(30, "s3://bucket/{}", Some("a/more")).await;
    for (old, new, what) in [(&first, &second, 1), (&second, &third, 2)] {
        assert_eq!(compared(old, new, &Prefix::all()).await.len(), what);
        agree(old, new).await;
    }
    clean(&world.repository).await;
}

/// The difference to which a commit was rebased, merged or reverted is recorded, not that to where its session began.
#[tokio::test]
async fn what_is_recorded_leads_from_the_first_parent() {
    let world = World::new().await;
    let base = world.put("a/base", "1").await;
    world.repository.create_branch(&"side".parse().unwrap(), &base).await.unwrap();
    let slow = world.repository.write("main").await.unwrap();
    slow.set(&key("a/slow"), "1").await.unwrap();
    let fast = world.put("a/fast", "1").await;
    let rebased = slow.commit("slow").await.unwrap();
    assert_eq!(rebased.record().parents, [fast.id()]);
    assert_eq!(agree(&fast, &rebased).await, 2);

    let session = world.repository.write("side").await.unwrap();
    session.set(&key("a/side"), "1").await.unwrap();
    let side = session.commit("side").await.unwrap();
    let merged = world.repository.merge(&"main".parse().unwrap(), &side, MergeOptions::default()).await.unwrap();
    let merged = merged.commit().await.unwrap().snapshot;
    assert_eq!(merged.record().parents, [rebased.id(), side.id()]);
    assert_eq!(agree(&rebased, &merged).await, 2);
    assert_eq!(recorded(&side, &merged, &Prefix::all()).await, None, "the other parent");

    let squashed = world.repository.squash(&"main".parse().unwrap(), &base, "all").await.unwrap().snapshot;
    assert_eq!((squashed.record().parents[0], recorded(&base, &squashed, &Prefix::all()).await), (base.id(), None));
    clean(&world.repository).await;
}

#[tokio::test]
async fn a_large_commit_and_an_import_record_nothing() {
    let world = World::new().await;
    let empty = world.repository.read("main").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    for n in 0..5000 {
        session.set(&key(&format!("many/{n}")), "x").await.unwrap();
    }
    let many = session.commit("many").await.unwrap();
    assert_eq!(recorded(&empty, &many, &Prefix::all()).await, None);
    let few = world.put("few", "1").await;
    assert_eq!(agree(&many, &few).await, 1);
    let other = World::new().await;
    let mut car = Vec::new();
    few.export_car(&mut car).await.unwrap();
    other.repository.import_car(&car[..], ImportTarget::Branch("copy".parse().unwrap())).await.unwrap();
    let names: Vec<_> = other.storage.list("changes/").try_collect().await.unwrap();
    assert!(names.is_empty(), "{names:?}");
    clean(&other.repository).await;
}

/// The list is one more request of a commit, and nothing waits for it alone. A store that refuses it makes a commit without it.
#[tokio::test]
async fn a_commit_does_not_need_its_list() {
    let memory: Arc<dyn Storage> = Arc::new(Memory::new());
    let plan = |call: &firnline::storage::fault::Call<'_>| match call.operation {
        Operation::Put if call.name.starts_with("changes/") => Fault::Rejected(ErrorKind::NoPermission),
        _ => Fault::None,
    };
    let faulty: Arc<dyn Storage> = Arc::new(Faulty::new(memory.clone(), plan));
    let repository = Repository::create_storage(faulty, CreateOptions::from(OpenOptions::default().without_pauses())).await.unwrap();
    let mut versions = Vec::new();
    for n in 0..3 {
        let session = repository.write("main").await.unwrap();
        session.set(&key("k"), format!("{n}")).await.unwrap();
        versions.push(session.commit("more").await.unwrap());
    }
    assert_eq!(recorded(&versions[0], &versions[1], &Prefix::all()).await, None);
    assert_eq!(compared(&versions[0], &versions[1], &Prefix::all()).await.len(), 1);
    clean(&repository).await;

    let observed = Arc::new(Observed::new(memory));
    let repository = Repository::open_storage(observed.clone(), OpenOptions::default().without_pauses()).await.unwrap();
    let before = observed.counts();
    let session = repository.write("main").await.unwrap();
    session.set(&key("k"), "last").await.unwrap();
    let last = session.commit("last").await.unwrap();
    // The root of the manifest, that of the history, the list, and the snapshot.
    assert_eq!(observed.counts().since(&before).puts, 4);
    assert_eq!(agree(&versions[2], &last).await, 1);
}

#[tokio::test]
async fn a_thousand_scattered_keys_are_told_by_few_requests() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    for n in 0..40_000_u64 {
        session.set_virtual(&key(&format!("a/{}/{}", n / 200, n % 200)), "s3://bucket/x", n * 7..n * 7 + 5).await.unwrap();
    }
    let old = session.commit("many").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    for n in 0..1000_u64 {
        session
            .set_virtual(&key(&format!("a/{}/{}", n % 200, (n / 200 * 40 + n * 7) % 200)), "s3://bucket/x", n * 9..n * 9 + 4)
            .await
            .unwrap();
    }
    let new = session.commit("scattered").await.unwrap();
    let observed = Arc::new(Observed::new(world.storage.clone()));
    let options = OpenOptions::default().clock(world.clock.clone()).without_pauses();
    let repository = Repository::open_storage(observed.clone(), options).await.unwrap();
    let (before, after) = (repository.read(&old.id().to_string()).await.unwrap(), repository.read(&new.id().to_string()).await.unwrap());
    let start = observed.counts();
    let told = recorded(&before, &after, &Prefix::all()).await.unwrap();
    let requests = observed.counts().since(&start).requests();
    assert!(requests <= 3, "{requests} requests beyond the two snapshots");
    assert_eq!(told, compared(&before, &after, &Prefix::all()).await);
    assert!(told.len() > 900, "{}", told.len());
}

/// A list that is damaged, or another version's, is an error, and a comparison is as right as ever.
#[tokio::test]
async fn a_list_that_cannot_be_right_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::create(folder.path().to_str().unwrap()).await.unwrap();
    let mut versions = Vec::new();
    for n in 0..3 {
        let session = repository.write("main").await.unwrap();
        session.set(&key(&format!("k/{n}")), "x").await.unwrap();
        versions.push(session.commit("more").await.unwrap());
    }
    let place = |snapshot: &Snapshot| {
        let id = snapshot.id().to_string();
        folder.path().join("changes").join(&id[8..10]).join(&id)
    };
    let [first, second, third] = versions.as_slice() else { unreachable!() };
    let whole = std::fs::read(place(third)).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let others = std::fs::read(place(second)).unwrap();
    for (bytes, why) in [(&damaged, "checksum"), (&others, "the list of other versions"), (&whole[..40].to_vec(), "changes/")] {
        std::fs::write(place(third), bytes).unwrap();
        let error = second.recorded_diff(third, &Prefix::all()).await.err().unwrap();
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(why), "{why}: {error}");
        assert_eq!(compared(second, third, &Prefix::all()).await.len(), 1);
    }
    std::fs::remove_file(place(third)).unwrap();
    assert_eq!(recorded(second, third, &Prefix::all()).await, None);
    assert_eq!(agree(first, second).await, 1);
    clean(&repository).await;
}
