//! Push, pull and clone: what is copied, how little of it, and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firnline::storage::fault::{Fault, Faulty, Operation};
use firnline::storage::{Memory, Observed, Storage};
use firnline::{
    CreateOptions, ErrorKind, Existing, GcOptions, HashAlgorithm, ImportSteps, KeyOrPrefix, MergeOptions, OpenOptions, Prefix, Ref,
    RefName, RefOutcome, Repository, Snapshot, SyncOptions, SyncRef, VerifyScope,
};
use futures::TryStreamExt as _;

use crate::support::{World, key};

pub(super) fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

pub(super) fn branch(text: &str) -> SyncRef {
    SyncRef::branch(name(text))
}

pub(super) fn only(text: &str) -> SyncOptions {
    SyncOptions::default().with(branch(text))
}

pub(super) fn below(prefix: &str) -> KeyOrPrefix {
    KeyOrPrefix::Prefix(Prefix::new(prefix).unwrap())
}

impl World {
    pub(super) fn options(&self) -> OpenOptions {
        OpenOptions::default().clock(self.clock.clone()).without_pauses()
    }

    pub(super) async fn open(&self, storage: Arc<dyn Storage>) -> Repository {
        Repository::open_storage(storage, self.options()).await.unwrap()
    }

    /// An empty repository.
    pub(super) async fn target(&self) -> (Memory, Repository) {
        self.clock.advance(Duration::from_secs(1));
        let memory = Memory::new();
        let options = CreateOptions::from(self.options());
        let made = Repository::create_storage(Arc::new(memory.clone()), options).await.unwrap();
        (memory, made)
    }

    /// Commits chunks of `len` bytes under `folder`, with other bytes for every `salt`.
    pub(super) async fn chunks(&self, folder: &str, count: u32, len: usize, salt: u32) -> Snapshot {
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
pub(super) async fn contents(repository: &Repository, revision: &str) -> Vec<(String, Vec<u8>)> {
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
pub(super) async fn collect(storage: Arc<dyn Storage>) -> u64 {
    let repository = Repository::open_storage(storage, OpenOptions::default().without_pauses()).await.unwrap();
    let report = repository.gc(&GcOptions::default().grace(Duration::ZERO)).await.unwrap();
    report.removed.values().map(|counts| counts.objects).sum()
}

pub(super) async fn require_clean(repository: &Repository) {
    assert_eq!(repository.verify(VerifyScope::Everything).await.unwrap().findings, []);
}

/// Whether `a` and `b` show the same under a revision, with the same log.
pub(super) async fn require_same(a: &Repository, b: &Repository, revision: &str) {
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
    // A second run finds nothing to do, and so does a second clone.
    let again = clone.pull(&world.repository, &SyncOptions::default()).await.unwrap();
    assert!(again.refs.iter().all(|one| one.outcome == RefOutcome::Unchanged) && again.nodes == 0 && again.versions == 0, "{again:?}");
    let (_, again) = world.repository.clone_to_storage(Arc::new(memory.clone()), world.options(), &SyncOptions::default()).await.unwrap();
    assert!(again.refs.iter().all(|one| one.outcome == RefOutcome::Unchanged), "{again:?}");
    // It is a repository like any other, and what is committed there goes back.
    let session = clone.write("main").await.unwrap();
    session.set(&key("there"), "x").await.unwrap();
    session.commit("in the clone").await.unwrap();
    // It is no place for a clone any more.
    let refused = world.repository.clone_to_storage(Arc::new(memory), world.options(), &SyncOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
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

/// A clone that is stopped after each of its moves of branches and tags goes on with the same call.
#[tokio::test]
async fn a_clone_that_was_stopped_goes_on_after_any_branch() {
    let world = World::new().await;
    let first = world.put("a", "1").await;
    for text in ["dev", "side"] {
        world.repository.create_branch(&name(text), &first).await.unwrap();
    }
    world.put("a", "2").await;
    world.repository.create_tag(&name("v1"), &first, "").await.unwrap();
    for stopped_at in ["refs/branches/dev.json", "refs/branches/main.json", "refs/branches/side.json", "refs/tags/v1.json"] {
        let memory = Memory::new();
        let passed = AtomicU64::new(0);
        let limited = Faulty::new(Arc::new(memory.clone()), move |call| {
            let is_it = call.operation == Operation::Replace && call.name == stopped_at;
            // `main` is made before.
            let is_first = call.name == "refs/branches/main.json" && passed.fetch_add(u64::from(is_it), Ordering::Relaxed) < 2;
            if is_it && !is_first { Fault::Rejected(ErrorKind::Denied) } else { Fault::None }
        });
        let options = SyncOptions::default();
        let stopped = world.repository.clone_to_storage(Arc::new(limited), world.options(), &options).await;
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Denied, "{stopped_at}");
        let (clone, report) = world.repository.clone_to_storage(Arc::new(memory), world.options(), &options).await.unwrap();
        assert_eq!(report.refs.len(), 4, "{stopped_at}");
        for revision in ["main", "dev", "side", "tag:v1"] {
            require_same(&world.repository, &clone, revision).await;
        }
    }
}

/// What the names tell is decided before anything is made or copied.
#[tokio::test]
async fn names_that_cannot_be_given_are_refused_first() {
    let world = World::new().await;
    world.put("a", "1").await;
    let (memory, target) = world.target().await;
    target.create_branch(&name("Theirs"), &target.read("main").await.unwrap()).await.unwrap();
    let to = |text: &str| SyncRef { source: Ref::branch(name("main")), target: Ref::branch(name(text)) };
    world.repository.create_branch(&name("side"), &world.repository.read("main").await.unwrap()).await.unwrap();
    let before = memory.list("").try_collect::<Vec<_>>().await.unwrap().len();
    let plain = SyncOptions::default();
    for options in [
        plain.clone().with(branch("main")).with(to("theirs")),
        plain.clone().with(branch("main")).with(to("new")).with(to("NEW")),
        plain.clone().with(branch("main")).with(SyncRef { source: Ref::branch(name("side")), target: Ref::branch(name("main")) }),
    ] {
        let refused = world.repository.push(&target, &options).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        assert_eq!(memory.list("").try_collect::<Vec<_>>().await.unwrap().len(), before, "{refused}");
    }
    // Twice the same is once, and steps of nothing are steps of one.
    let steps = ImportSteps::default().keys(0).bytes(0);
    let twice = world.repository.push(&target, &only("main").with(branch("main")).steps(steps)).await.unwrap();
    assert_eq!(twice.refs.iter().map(|one| one.outcome).collect::<Vec<_>>(), [RefOutcome::Moved]);
    // A clone of what does not exist makes nothing.
    let memory = Memory::new();
    let refused = world.repository.clone_to_storage(Arc::new(memory.clone()), world.options(), &only("mian")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert_eq!(memory.list("").try_collect::<Vec<_>>().await.unwrap().len(), 0);
}
