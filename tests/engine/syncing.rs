//! Push, pull and clone: what is copied, how little of it, and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firnline::storage::fault::{Fault, Faulty, Operation};
use firnline::storage::{Local, LocalOptions, Memory, Observed, Storage};
use firnline::{
    CreateOptions, ErrorKind, Existing, GcOptions, HashAlgorithm, ImportSteps, ImportTarget, KeyOrPrefix, MergeOptions, OpenOptions,
    Prefix, Ref, RefName, RefOutcome, Repository, Snapshot, SyncOptions, SyncRef, VerifyScope,
};
use futures::TryStreamExt as _;
use tokio::sync::Semaphore;

use crate::support::{World, key};

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

fn branch(text: &str) -> SyncRef {
    SyncRef::branch(name(text))
}

fn only(text: &str) -> SyncOptions {
    SyncOptions::default().with(branch(text))
}

fn below(prefix: &str) -> KeyOrPrefix {
    KeyOrPrefix::Prefix(Prefix::new(prefix).unwrap())
}

impl World {
    fn options(&self) -> OpenOptions {
        OpenOptions::default().clock(self.clock.clone()).without_pauses()
    }

    async fn open(&self, storage: Arc<dyn Storage>) -> Repository {
        Repository::open_storage(storage, self.options()).await.unwrap()
    }

    /// An empty repository.
    async fn target(&self) -> (Memory, Repository) {
        self.clock.advance(Duration::from_secs(1));
        let memory = Memory::new();
        let options = CreateOptions::from(self.options());
        let made = Repository::create_storage(Arc::new(memory.clone()), options).await.unwrap();
        (memory, made)
    }

    /// Commits chunks of `len` bytes under `folder`, with other bytes for every `salt`.
    async fn chunks(&self, folder: &str, count: u32, len: usize, salt: u32) -> Snapshot {
        self.clock.advance(Duration::from_secs(1));
        let session = self.repository.write("main").await.unwrap();
        for n in 0..count {
            let mut value = vec![0; len];
            value[..8].copy_from_slice(&(u64::from(salt) << 32 | u64::from(n)).to_le_bytes());
            session.set(&key(&format!("{folder}/{n}")), value).await.unwrap();
        }
        session.commit(format!("{count} chunks")).await.unwrap()
    }
}

/// Everything under a revision, read and verified.
async fn contents(repository: &Repository, revision: &str) -> Vec<(String, Vec<u8>)> {
    let snapshot = repository.read(revision).await.unwrap();
    let keys: Vec<_> = snapshot.list(&Prefix::all()).try_collect().await.unwrap();
    let mut all = Vec::new();
    for (key, entry) in keys {
        let value = match entry.file() {
            Some(_) => format!("{entry:?}").into_bytes(),
            None => snapshot.get(&key).await.unwrap().unwrap().to_vec(),
        };
        all.push((key.to_string(), value));
    }
    all
}

/// Removes all garbage, by the clock of the machine, by which a store in memory dates what it holds. Returns how many objects that was.
async fn collect(storage: Arc<dyn Storage>) -> u64 {
    let repository = Repository::open_storage(storage, OpenOptions::default().without_pauses()).await.unwrap();
    let report = repository.gc(&GcOptions::default().grace(Duration::ZERO)).await.unwrap();
    report.removed.values().map(|counts| counts.objects).sum()
}

async fn require_clean(repository: &Repository) {
    assert_eq!(repository.verify(VerifyScope::Everything).await.unwrap().findings, []);
}

/// Whether `a` and `b` show the same under a revision, with the same log.
async fn require_same(a: &Repository, b: &Repository, revision: &str) {
    assert_eq!(a.read(revision).await.unwrap().id(), b.read(revision).await.unwrap().id(), "{revision}");
    assert_eq!(contents(a, revision).await, contents(b, revision).await, "{revision}");
    let (a, b) = (a.read(revision).await.unwrap(), b.read(revision).await.unwrap());
    let (ours, theirs): (Vec<_>, Vec<_>) = (a.log().try_collect().await.unwrap(), b.log().try_collect().await.unwrap());
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{revision}");
}

#[tokio::test]
async fn a_clone_has_every_branch_and_tag_with_everything_behind_them() {
    let world = World::new().await;
    let first = world.put("a", "1").await;
    world.chunks("c", 30, 2_000, 1).await;
    world.repository.create_branch(&name("side"), &first).await.unwrap();
    let session = world.repository.write("side").await.unwrap();
    session.set(&key("large"), vec![5; 3 << 20]).await.unwrap();
    session.set(&key("huge"), (0..9_500_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>()).await.unwrap();
    session.set_virtual(&key("v"), "file:///data/one.nc", 10..20).await.unwrap();
    let side = session.commit("on the side").await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let merge = world.repository.merge(&name("main"), &side, MergeOptions::default()).await.unwrap();
    merge.commit().await.unwrap();
    world.repository.create_tag(&name("v1"), &first, "the first").await.unwrap();
    let memory = Memory::new();
    let (clone, report) =
        world.repository.clone_to_storage(Arc::new(memory.clone()), world.options(), &SyncOptions::default()).await.unwrap();
    for revision in ["branch:main", "branch:side", "tag:v1"] {
        require_same(&world.repository, &clone, revision).await;
    }
    assert_eq!(clone.tags().await.unwrap()[0].tag.as_ref().unwrap().message, "the first");
    require_clean(&clone).await;
    assert_eq!((report.refs.len(), report.versions, report.chunks), (3, 5, 32), "{report:?}");
    assert!(
        report
            .refs
            .iter()
            .all(|one| one.outcome == if one.target.name.as_str() == "main" { RefOutcome::Moved } else { RefOutcome::Created })
    );
    // A second run finds nothing to do, and the clone is no place for a clone any more.
    let again = clone.pull(&world.repository, &SyncOptions::default()).await.unwrap();
    assert!(again.refs.iter().all(|one| one.outcome == RefOutcome::Unchanged) && again.nodes == 0 && again.versions == 0, "{again:?}");
    let refused = world.repository.clone_to_storage(Arc::new(memory), world.options(), &SyncOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    // It is a repository like any other, and what is committed there goes back.
    let session = clone.write("main").await.unwrap();
    session.set(&key("there"), "x").await.unwrap();
    session.commit("in the clone").await.unwrap();
    let report = clone.push(&world.repository, &only("main")).await.unwrap();
    assert_eq!((report.refs[0].outcome, report.versions), (RefOutcome::Moved, 1));
    require_same(&world.repository, &clone, "branch:main").await;
    let moves = world.repository.moves(&Ref::branch(name("main"))).await.unwrap();
    assert_eq!(moves.last().unwrap().op.word(), "push");
    require_clean(&world.repository).await;
}

/// What was promised: a commit of one chunk to a large repository sends a path of nodes, not the repository.
#[tokio::test]
async fn a_commit_of_one_chunk_sends_ten_objects_at_most() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set_many((0..60_000).map(|n| (key(&format!("a/c/{}/{}", n / 300, n % 300)), format!("value {n}")))).await.unwrap();
    session.commit("many").await.unwrap();
    let (memory, plain) = world.target().await;
    world.repository.push(&plain, &only("main")).await.unwrap();
    world.chunks("a/c/17", 1, 5_000, 3).await;
    let (observed, source) = (Arc::new(Observed::new(Arc::new(memory))), Arc::new(Observed::new(world.storage.clone())));
    let (target, source_repository) = (world.open(observed.clone()).await, world.open(source.clone()).await);
    let (before, read) = (observed.counts(), source.counts());
    let report = source_repository.push(&target, &only("main")).await.unwrap();
    let sent = observed.counts().since(&before);
    assert!(sent.puts <= 10, "{sent:?}");
    assert_eq!((report.chunks, report.chunk_bytes, report.versions), (1, 5_000, 1));
    assert!(sent.lists <= 4 && sent.loads <= 12, "{sent:?}");
    assert!(source.counts().since(&read).gets <= 24, "{:?}", source.counts().since(&read));
    require_same(&world.repository, &target, "branch:main").await;
}

#[tokio::test]
async fn branches_move_forward_and_tags_stay() {
    let world = World::new().await;
    let (_, target) = world.target().await;
    let one = world.put("a", "1").await;
    world.repository.create_tag(&name("t"), &one, "").await.unwrap();
    world.repository.push(&target, &SyncOptions::default()).await.unwrap();
    // The target is ahead.
    let session = target.write("main").await.unwrap();
    session.set(&key("b"), "2").await.unwrap();
    let theirs = session.commit("theirs").await.unwrap();
    let report = world.repository.push(&target, &only("main")).await.unwrap();
    assert_eq!((report.refs[0].outcome, report.refs[0].from, report.versions), (RefOutcome::Ahead, Some(theirs.id()), 0));
    // Both have commits of their own.
    let ours = world.put("c", "3").await;
    world.repository.delete_tag(&name("t")).await.unwrap();
    world.repository.create_tag(&name("t"), &ours, "").await.unwrap();
    let refused = world.repository.push(&target, &SyncOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    let text = refused.to_string();
    assert!(text.contains("branch main") && text.contains("tag t") && text.contains("nothing was copied"), "{text}");
    assert_eq!(target.read(&ours.id().to_string()).await.unwrap_err().kind(), ErrorKind::NotFound, "nothing was copied");
    // Under another name it is no conflict; pulled, it can be merged.
    let aside = SyncRef { source: Ref::branch(name("main")), target: Ref::branch(name("theirs")) };
    let pulled = world.repository.pull(&target, &SyncOptions::default().with(aside)).await.unwrap();
    assert_eq!((pulled.refs[0].outcome, pulled.versions), (RefOutcome::Created, 1));
    world.clock.advance(Duration::from_secs(1));
    let theirs = world.repository.read("theirs").await.unwrap();
    world.repository.merge(&name("main"), &theirs, MergeOptions::default()).await.unwrap().commit().await.unwrap();
    assert_eq!(world.repository.push(&target, &only("main")).await.unwrap().refs[0].outcome, RefOutcome::Moved);
    require_same(&world.repository, &target, "branch:main").await;
    // By force, and taken back.
    world.repository.reset(&name("main"), &one).await.unwrap();
    let before = target.read("main").await.unwrap().id();
    let forced =
        world.repository.push(&target, &SyncOptions::default().with(branch("main")).with(SyncRef::tag(name("t"))).force()).await.unwrap();
    assert_eq!(forced.refs.iter().map(|one| one.outcome).collect::<Vec<_>>(), [RefOutcome::Moved, RefOutcome::Moved]);
    assert_eq!(target.read("main").await.unwrap().id(), one.id());
    assert_eq!(target.read("tag:t").await.unwrap().id(), ours.id());
    target.undo(&name("main")).await.unwrap();
    assert_eq!(target.read("main").await.unwrap().id(), before);
    require_clean(&target).await;
    let mixed = SyncRef { source: Ref::branch(name("main")), target: Ref::tag(name("main")) };
    assert_eq!(world.repository.push(&target, &SyncOptions::default().with(mixed)).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(world.repository.push(&target, &only("none")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn repositories_of_two_hashes_share_no_versions() {
    let world = World::new().await;
    world.put("a", "1").await;
    let options = CreateOptions::from(world.options()).hash(HashAlgorithm::Blake3);
    let other = Repository::create_storage(Arc::new(Memory::new()), options).await.unwrap();
    for (from, to) in [(&world.repository, &other), (&other, &world.repository)] {
        let refused = from.push(to, &SyncOptions::default()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.to_string().contains("sha2-256") && refused.to_string().contains("blake3"), "{refused}");
    }
}

/// A copy shares no node with its original, because nodes hold whole keys: its chunks were sent again.
#[tokio::test]
async fn chunks_that_were_copied_or_moved_are_not_sent_again() {
    let world = World::new().await;
    let (_, target) = world.target().await;
    world.chunks("a", 300, 20_000, 1).await;
    assert_eq!(world.repository.push(&target, &only("main")).await.unwrap().chunks, 300);
    for (to, is_move) in [("b", false), ("z", true)] {
        world.clock.advance(Duration::from_secs(1));
        let session = world.repository.write("main").await.unwrap();
        if is_move {
            session.rename("a", to, Existing::Refuse).await.unwrap();
        } else {
            let base = session.base().clone();
            session.copy_from(&base, &below("a/"), to, Existing::Refuse).await.unwrap();
        }
        session.commit("other names").await.unwrap();
        let report = world.repository.push(&target, &only("main")).await.unwrap();
        assert_eq!((report.versions, report.chunks), (1, 0), "{to}");
        require_same(&world.repository, &target, "branch:main").await;
    }
    require_clean(&target).await;
}

#[tokio::test]
async fn without_chunks_only_what_the_target_has_is_named() {
    let world = World::new().await;
    let (_, target) = world.target().await;
    let old = world.chunks("a", 5, 2_000, 1).await;
    world.repository.push(&target, &only("main")).await.unwrap();
    // The same values under other names, on a line of its own.
    world.clock.advance(Duration::from_secs(1));
    let start = world.repository.read("main~1").await.unwrap();
    world.repository.create_branch(&name("other"), &start).await.unwrap();
    let session = world.repository.write("other").await.unwrap();
    session.copy_from(&old, &below("a/"), "x", Existing::Refuse).await.unwrap();
    session.commit("again").await.unwrap();
    let report = world.repository.push(&target, &only("other").no_chunks()).await.unwrap();
    assert_eq!((report.versions, report.chunks), (1, 0));
    require_same(&world.repository, &target, "branch:other").await;
    world.chunks("new", 3, 2_000, 2).await;
    let refused = world.repository.push(&target, &only("main").no_chunks()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("3 chunks"), "{refused}");
    assert_eq!(target.read("main").await.unwrap().id(), old.id());
    require_clean(&target).await;
}

#[tokio::test]
async fn a_dry_run_tells_and_changes_nothing() {
    let world = World::new().await;
    let (memory, _) = world.target().await;
    world.chunks("a", 5, 2_000, 1).await;
    let observed = Arc::new(Observed::new(Arc::new(memory)));
    let target = Repository::open_storage(observed.clone(), world.options().read_only()).await.unwrap();
    let report = world.repository.push(&target, &SyncOptions::default().dry_run()).await.unwrap();
    assert_eq!((report.refs[0].outcome, report.versions, report.chunks), (RefOutcome::Moved, 2, 0));
    let counts = observed.counts();
    assert_eq!((counts.puts, counts.replaces), (0, 0));
    assert_eq!(world.repository.push(&target, &SyncOptions::default()).await.unwrap_err().kind(), ErrorKind::Invalid);
}

/// A push that is stopped after every number of chunks: the next one sends what is left, and at most one step more.
#[tokio::test]
async fn a_push_that_was_stopped_goes_on_where_it_was() {
    const CHUNKS: u64 = 40;
    const STEP: u64 = 6;
    for stop in 0..=CHUNKS {
        let world = World::new().await;
        world.chunks("a", 25, 2_000, 1).await;
        world.chunks("b", 15, 2_000, 2).await;
        let (memory, calm) = world.target().await;
        let passed = AtomicU64::new(0);
        let observed = Arc::new(Observed::new(Arc::new(memory)));
        let limited = Faulty::new(observed.clone(), move |call| {
            let is_chunk = call.operation == Operation::Put && call.name.starts_with("chunks/");
            if is_chunk && passed.fetch_add(1, Ordering::Relaxed) >= stop { Fault::Rejected(ErrorKind::Denied) } else { Fault::None }
        });
        let target = world.open(Arc::new(limited)).await;
        let options = only("main").steps(ImportSteps::default().keys(STEP));
        let first = world.repository.push(&target, &options).await;
        assert_eq!(first.is_ok(), stop == CHUNKS, "{stop}: {first:?}");
        let again = world.repository.push(&calm, &options).await.unwrap();
        if stop < CHUNKS {
            assert!(stop < again.reused + 2 * STEP && again.reused <= stop && again.chunks + again.reused == CHUNKS, "{stop}: {again:?}");
        }
        require_same(&world.repository, &calm, "branch:main").await;
        assert_eq!(calm.branches().await.unwrap().len(), 1, "{stop}: the saves are gone");
        require_clean(&calm).await;
    }
}

/// A version without its history stays so.
#[tokio::test]
async fn what_was_left_out_stays_out() {
    let world = World::new().await;
    for n in 0..5 {
        world.put("a", &n.to_string()).await;
    }
    let (_, target) = world.target().await;
    let mut file = Vec::new();
    world.repository.read("main").await.unwrap().export_car(&mut file).await.unwrap();
    target.import_car(file.as_slice(), ImportTarget::Branch(name("main"))).await.unwrap();
    world.put("b", "1").await;
    let report = target.pull(&world.repository, &only("main")).await.unwrap();
    assert_eq!((report.refs[0].outcome, report.versions), (RefOutcome::Moved, 1));
    assert_eq!(contents(&target, "main").await, contents(&world.repository, "main").await);
    require_clean(&target).await;
    // What is committed there comes back to where the history is.
    world.clock.advance(Duration::from_secs(1));
    let session = target.write("main").await.unwrap();
    session.set(&key("c"), "1").await.unwrap();
    session.commit("in the shallow one").await.unwrap();
    let back = target.push(&world.repository, &only("main")).await.unwrap();
    assert_eq!((back.refs[0].outcome, back.versions), (RefOutcome::Moved, 1));
    require_clean(&world.repository).await;
    // And from a repository that has no history itself.
    let (_, third) = world.target().await;
    target.push(&third, &only("main")).await.unwrap();
    assert_eq!(contents(&target, "main").await, contents(&third, "main").await);
    require_clean(&third).await;
}

#[tokio::test]
async fn a_shallow_clone_has_what_branches_show_and_grows() {
    let world = World::new().await;
    let first = world.put("a", "1").await;
    world.chunks("c", 5, 2_000, 1).await;
    world.repository.create_tag(&name("v1"), &first, "").await.unwrap();
    let memory: Arc<dyn Storage> = Arc::new(Memory::new());
    let (clone, report) =
        world.repository.clone_to_storage(memory.clone(), world.options(), &SyncOptions::default().shallow()).await.unwrap();
    assert_eq!((report.versions, report.chunks), (2, 5), "what the branch and the tag show");
    assert_eq!(contents(&clone, "main").await, contents(&world.repository, "main").await);
    let mut log = Box::pin(clone.read("main").await.unwrap().log());
    assert_eq!(log.try_next().await.unwrap().unwrap().id, world.repository.read("main").await.unwrap().id());
    assert_eq!(log.try_next().await.unwrap_err().kind(), ErrorKind::NotFound);
    collect(memory.clone()).await;
    require_clean(&clone).await;
    // One more version there, without the two before it.
    world.chunks("d", 3, 2_000, 2).await;
    world.chunks("e", 3, 2_000, 3).await;
    let report = clone.pull(&world.repository, &only("main").shallow()).await.unwrap();
    assert_eq!((report.versions, report.chunks), (1, 11), "{report:?}");
    // On what is there, only the difference.
    world.chunks("f", 3, 2_000, 4).await;
    let report = clone.pull(&world.repository, &only("main").shallow()).await.unwrap();
    assert_eq!((report.versions, report.chunks), (1, 3), "{report:?}");
    require_clean(&clone).await;
    // What was left out comes with a branch that shows it; the shallow ones stay so.
    world.repository.create_branch(&name("old"), &world.repository.read("main~2").await.unwrap()).await.unwrap();
    let report = clone.pull(&world.repository, &only("old")).await.unwrap();
    assert_eq!((report.refs[0].outcome, report.versions), (RefOutcome::Created, 1), "{report:?}");
    require_clean(&clone).await;
    world.put("last", "1").await;
    clone.pull(&world.repository, &only("main")).await.unwrap();
    assert_eq!(contents(&clone, "main").await, contents(&world.repository, "main").await);
    collect(memory.clone()).await;
    require_clean(&world.open(memory).await).await;
}

/// What the source has lost is damage: the copy must not look as if it had been left out on purpose.
#[tokio::test]
async fn a_lost_ancestor_is_not_taken_for_one_that_was_left_out() {
    let world = World::new().await;
    world.put("a", "1").await;
    let lost = world.put("a", "2").await;
    world.put("a", "3").await;
    let directory = tempfile::tempdir().unwrap();
    let store = || Arc::new(Local::open(directory.path(), LocalOptions::default()).unwrap());
    world.repository.clone_to_storage(store(), world.options(), &SyncOptions::default()).await.unwrap();
    let shards: Vec<_> = std::fs::read_dir(directory.path().join("snapshots")).unwrap().map(|shard| shard.unwrap().path()).collect();
    let found = shards.iter().map(|shard| shard.join(lost.id().to_string())).find(|path| path.exists()).unwrap();
    std::fs::remove_file(found).unwrap();
    let damaged = world.open(store()).await;
    let refused = damaged.clone_to_storage(Arc::new(Memory::new()), world.options(), &SyncOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert!(refused.to_string().contains(&lost.id().to_string()), "{refused}");
}

/// A run that was stopped may leave a part of a history, which must not pass for the whole: the version is not marked beside it.
#[tokio::test]
async fn a_version_is_not_marked_beside_parts_of_its_history() {
    let world = World::new().await;
    world.put("a", "1").await;
    world.put("a", "2").await;
    let (memory, calm) = world.target().await;
    let limited = Faulty::new(Arc::new(memory.clone()), |call| {
        let is_it = call.operation == Operation::Replace && call.name == "refs/branches/main.json";
        if is_it { Fault::Rejected(ErrorKind::Denied) } else { Fault::None }
    });
    world.repository.push(&world.open(Arc::new(limited)).await, &only("main")).await.unwrap_err();
    let refused = world.repository.push(&calm, &only("main").shallow()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("firn gc"), "{refused}");
    assert!(collect(Arc::new(memory)).await > 5);
    world.repository.push(&calm, &only("main").shallow()).await.unwrap();
    assert_eq!(contents(&calm, "main").await, contents(&world.repository, "main").await);
    require_clean(&calm).await;
}

/// Garbage that is collected on both sides between and during runs.
#[tokio::test]
async fn collections_take_nothing_that_was_copied() {
    let world = World::new().await;
    let (memory, target) = world.target().await;
    let mut removed = 0;
    for round in 0..4 {
        world.chunks(&format!("r{round}"), 12, 2_000, round).await;
        // One that is stopped leaves garbage, and saves.
        let passed = AtomicU64::new(0);
        let limited = Faulty::new(Arc::new(memory.clone()), move |call| {
            let is_chunk = call.operation == Operation::Put && call.name.starts_with("chunks/");
            if is_chunk && passed.fetch_add(1, Ordering::Relaxed) >= 8 { Fault::Rejected(ErrorKind::Denied) } else { Fault::None }
        });
        let options = only("main").steps(ImportSteps::default().keys(5));
        world.repository.push(&world.open(Arc::new(limited)).await, &options).await.unwrap_err();
        removed += collect(Arc::new(memory.clone())).await;
        let (pushed, more) = futures::join!(world.repository.push(&target, &options), collect(Arc::new(memory.clone())));
        assert!(pushed.unwrap().reused >= 5);
        removed += more + collect(Arc::new(memory.clone())).await;
        collect(world.storage.clone()).await;
        require_same(&world.repository, &target, "branch:main").await;
        require_clean(&world.open(Arc::new(memory.clone())).await).await;
    }
    assert!(removed > 10, "{removed}");
}

/// Objects of the source that are gone or damaged are named, and nothing moves.
#[tokio::test]
async fn a_damaged_source_is_told_and_moves_nothing() {
    let world = World::new().await;
    world.chunks("a", 600, 1_200, 1).await;
    let (_, target) = world.target().await;
    let before = target.read("main").await.unwrap().id();
    for folder in ["chunks/", "manifests/"] {
        let damaged = Faulty::new(world.storage.clone(), move |call| {
            if call.operation == Operation::Get && call.name.starts_with(folder) {
                Fault::Rejected(ErrorKind::Corrupt)
            } else {
                Fault::None
            }
        });
        let source = world.open(Arc::new(damaged)).await;
        let refused = source.push(&target, &only("main")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt);
        assert!(refused.to_string().contains(folder), "{refused}");
        assert_eq!(target.read("main").await.unwrap().id(), before);
    }
}

/// The target through a network on which its first replace of `main` waits until the gate opens, and whether it has come there.
async fn held(world: &World, memory: &Memory) -> (Repository, Arc<Semaphore>, Arc<Semaphore>) {
    let (reached, opened) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (there, gate, passed) = (reached.clone(), opened.clone(), AtomicU64::new(0));
    let store = Faulty::new(Arc::new(memory.clone()), move |call| {
        let is_it = call.operation == Operation::Replace && call.name == "refs/branches/main.json";
        if !is_it || passed.fetch_add(1, Ordering::Relaxed) > 0 {
            return Fault::None;
        }
        there.add_permits(1);
        let gate = gate.clone();
        Fault::Wait(Box::pin(async move { gate.acquire().await.unwrap().forget() }))
    });
    (world.open(Arc::new(store)).await, reached, opened)
}

/// Everything that was sent is garbage until the branch moves. A collection right before that removes it: the run notices, and sends it again.
#[tokio::test]
async fn what_is_collected_before_the_branch_moves_is_sent_again() {
    let world = World::new().await;
    let (memory, _) = world.target().await;
    world.chunks("a", 20, 2_000, 1).await;
    let (target, reached, opened) = held(&world, &memory).await;
    let collecting = async {
        reached.acquire().await.unwrap().forget();
        let removed = collect(Arc::new(memory.clone())).await;
        opened.add_permits(1);
        removed
    };
    let options = only("main");
    let (pushed, removed) = futures::join!(world.repository.push(&target, &options), collecting);
    assert_eq!(pushed.unwrap().chunks, 20);
    assert!(removed > 20, "{removed}");
    let calm = world.open(Arc::new(memory)).await;
    require_same(&world.repository, &calm, "branch:main").await;
    require_clean(&calm).await;
}

/// Another writer is first: the branch is looked at again, and what was forward is so no more.
#[tokio::test]
async fn a_branch_that_moves_meanwhile_is_looked_at_again() {
    let world = World::new().await;
    let (memory, calm) = world.target().await;
    world.put("a", "1").await;
    world.repository.push(&calm, &only("main")).await.unwrap();
    world.put("a", "2").await;
    let (target, reached, opened) = held(&world, &memory).await;
    let commit = async {
        reached.acquire().await.unwrap().forget();
        let session = calm.write("main").await.unwrap();
        session.set(&key("b"), "theirs").await.unwrap();
        let made = session.commit("theirs").await.unwrap();
        opened.add_permits(1);
        made
    };
    let options = only("main");
    let (pushed, made) = futures::join!(world.repository.push(&target, &options), commit);
    assert_eq!(pushed.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(world.open(Arc::new(memory)).await.read("main").await.unwrap().id(), made.id());
}
