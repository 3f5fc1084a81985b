//! Versions that no writer makes, whole by every hash and yet wrong: verification names what is wrong, and an import
//! refuses them.

use std::sync::Arc;

use futures::TryStreamExt as _;

use super::{Finding, FindingKind, VerifyScope};
use crate::car::ImportTarget;
use crate::commit::with_roots;
use crate::error::ErrorKind;
use crate::format::{ChangeList, Commit, Entry, HistoryEntry, VirtualFile};
use crate::handle::{CreateOptions, OpenOptions, Repository};
use crate::history::Line;
use crate::id::{HashAlgorithm, SnapshotId};
use crate::key::{Key, MapKey, Prefix};
use crate::map::{Map, Shape, Span, build};
use crate::objects::Uploads;
use crate::refs::{MoveOp, MoveTo, Ref};
use crate::snapshot::Snapshot;
use crate::storage::{Memory, ObjectName};
use crate::time::Timestamp;

async fn empty() -> Repository {
    let create = CreateOptions::from(OpenOptions::default().without_pauses()).hash(HashAlgorithm::Sha2_256);
    Repository::create_storage(Arc::new(Memory::new()), create).await.unwrap()
}

async fn filled() -> (Repository, Snapshot) {
    let repository = empty().await;
    let session = repository.write("main").await.unwrap();
    for i in 0..2000_u64 {
        session.set(&Key::new(format!("k/{i}")).unwrap(), vec![1; 60]).await.unwrap();
    }
    for i in 0..20_u64 {
        session.set_virtual(&Key::new(format!("v/{i}")).unwrap(), &format!("file:///data/{}.nc", i % 4), i..i + 5).await.unwrap();
    }
    let snapshot = session.commit("base").await.unwrap();
    (repository, snapshot)
}

/// Publishes a child of `base` that `change` has had its way with.
async fn forged(base: &Snapshot, change: impl AsyncFnOnce(&mut Commit, &mut Uploads)) -> Snapshot {
    let repository = base.repository();
    let objects = repository.objects();
    let mut uploads = Uploads::new(objects);
    let mut commit = base.record().clone();
    let behind = Line::of(base).extended(&mut uploads).await.unwrap();
    (commit.history, commit.since) = (behind.root, behind.since);
    commit.parents = vec![base.id()];
    commit.time = commit.time.next();
    commit.message = "forged".to_owned();
    change(&mut commit, &mut uploads).await;
    uploads.finish().await.unwrap();
    let id = SnapshotId::of(objects.hash(), &commit.canonical());
    let object = with_roots(objects, commit.clone(), &mut uploads).await.unwrap();
    uploads.snapshot(id, &object).await.unwrap();
    uploads.finish().await.unwrap();
    let to = MoveTo { to: Some(id), op: MoveOp::Reset, about: None, not_before: Timestamp::MIN };
    repository.refs().change(&Ref::branch("main".parse().unwrap()), to, |_| async { Ok(crate::refs::Vouched::Safe) }).await.unwrap();
    Snapshot::new(repository.clone(), id, Arc::new(commit))
}

async fn findings(snapshot: &Snapshot) -> Vec<Finding> {
    let all = snapshot.repository().verify(VerifyScope::Everything).await.unwrap().findings;
    let one = snapshot.repository().verify(VerifyScope::Revision(snapshot.clone())).await.unwrap().findings;
    assert_eq!(all, one);
    all
}

/// Somewhere else the version is refused, because what is wrong can be seen in it.
async fn import_refuses(snapshot: &Snapshot) {
    let mut car = Vec::new();
    snapshot.export_car(&mut car).await.unwrap();
    let target = empty().await;
    let error = target.import_car(car.as_slice(), ImportTarget::Branch("x".parse().unwrap())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(target.branches().await.unwrap().len(), 1);
}

async fn edit_file(snapshot: &Snapshot, change: impl Fn(&mut VirtualFile) -> bool) -> Snapshot {
    forged(snapshot, async |commit, uploads| {
        let objects = snapshot.repository().objects();
        let map = Map::<VirtualFile, _>::new(objects, commit.files);
        let (key, mut record) = map.scan(Span::all()).next().await.unwrap().unwrap();
        let kept = change(&mut record);
        commit.files = map.edit(&[(key, kept.then_some(record))], objects.shape(), uploads).await.unwrap().root;
    })
    .await
}

#[tokio::test]
async fn files_that_are_miscounted_are_found() {
    let changes: [fn(&mut VirtualFile) -> bool; 3] = [
        |file| {
            file.refs += 1;
            true
        },
        |file| {
            file.bytes -= 1;
            true
        },
        |_| false,
    ];
    for change in changes {
        let (_repository, base) = filled().await;
        let forged = edit_file(&base, change).await;
        let found = findings(&forged).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].kind, FindingKind::Miscounted);
        assert!(found[0].object.starts_with("files/") && found[0].object.ends_with(&forged.record().files.to_string()));
        assert!(found[0].keys.iter().all(|key| key.starts_with("v/")) && !found[0].keys.is_empty());
        assert_eq!(found[0].versions, [forged.id()]);
        import_refuses(&forged).await;
    }
}

#[tokio::test]
async fn references_past_the_end_and_files_without_a_container_are_found() {
    let (_repository, base) = filled().await;
    let short = edit_file(&base, |file| {
        file.size = Some(3);
        true
    })
    .await;
    let found = findings(&short).await;
    assert_eq!(found.iter().map(|f| f.kind).collect::<Vec<_>>(), [FindingKind::PastEnd]);
    // The furthest reference is to blame.
    assert_eq!(found[0].keys[0], "v/16");
    import_refuses(&short).await;

    let (_repository, base) = filled().await;
    let lost = forged(&base, async |commit, _| commit.containers.clear()).await;
    let found = findings(&lost).await;
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|f| f.kind == FindingKind::Unplaced), "{found:#?}");
    import_refuses(&lost).await;
}

#[tokio::test]
async fn a_manifest_cut_elsewhere_is_found() {
    let (_repository, base) = filled().await;
    let forged = forged(&base, async |commit, uploads| {
        let objects = base.repository().objects();
        let entries = Map::<Entry, _>::new(objects, commit.manifest).scan(Span::all()).into_stream();
        let other = Shape { target: 11, ..objects.shape() };
        commit.manifest = build(entries, other, uploads).await.unwrap().root;
    })
    .await;
    let found = findings(&forged).await;
    assert!(!found.is_empty());
    assert!(found.iter().all(|f| f.kind == FindingKind::Misplaced && f.object.starts_with("manifests/")), "{found:#?}");
    assert!(found.iter().any(|f| !f.keys.is_empty()));
    import_refuses(&forged).await;
}

#[tokio::test]
async fn a_history_that_is_not_the_line_is_found() {
    let stranger = HistoryEntry { id: SnapshotId::of(HashAlgorithm::Sha2_256, b"no such commit"), summary: "stranger".to_owned() };
    let time = |commit: &Commit, back: i64| MapKey::new((commit.time.micros() - back).to_string());
    for case in 0..3 {
        let (_repository, base) = filled().await;
        let forged = forged(&base, async |commit, uploads| {
            let objects = base.repository().objects();
            let edits = match case {
                // A commit too many, one too few, and another summary.
                0 => [(time(commit, 5_000_000), Some(stranger.clone()))],
                1 => [(time(base.record(), 0), None)],
                _ => [(time(base.record(), 0), Some(HistoryEntry { id: base.id(), summary: "other".to_owned() }))],
            };
            let map = Map::<HistoryEntry, _>::new(objects, commit.history);
            commit.history = map.edit(&edits, objects.shape(), uploads).await.unwrap().root;
        })
        .await;
        let found = findings(&forged).await;
        let history: Vec<_> = found.iter().filter(|f| f.kind == FindingKind::History).collect();
        assert_eq!(history.len(), 1, "case {case}: {found:#?}");
        assert!(history[0].object.ends_with(&forged.record().history.to_string()));
        assert_eq!(history[0].versions, [forged.id()]);
        // Only the stranger is also missing itself.
        let others: Vec<_> = found.iter().filter(|f| f.kind != FindingKind::History).collect();
        assert_eq!(others.len(), usize::from(case == 0), "{others:#?}");
        assert!(others.iter().all(|f| f.kind == FindingKind::Missing && f.object.contains(&stranger.id.to_string())));
        assert_eq!(history[0].keys.is_empty(), case == 2);
    }
}

/// The documentation of `verify` promises it, with what the system's allocator adds.
#[test]
fn a_node_takes_less_than_300_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let [few, many] = [5_000_u64, 20_000].map(|keys| {
        let snapshot = runtime.block_on(async {
            let repository = empty().await;
            let session = repository.write("main").await.unwrap();
            for i in 0..keys {
                session.set(&Key::new(format!("some/array/c/{}/{}", i / 100, i % 100)).unwrap(), vec![1; 1000]).await.unwrap();
            }
            session.commit("many nodes").await.unwrap()
        });
        let verifier = super::Verifier::new(snapshot.repository());
        let walk = verifier.map::<Entry>(snapshot.id(), snapshot.record().manifest);
        let (_, peak) = crate::testing::alloc::peak(|| runtime.block_on(walk).unwrap());
        (super::lock(&verifier.nodes).len(), peak)
    });
    let each = (many.1 - few.1) / (many.0 - few.0);
    assert!(many.0 > 2000 && each < 300, "{each} bytes for a node, {few:?}, {many:?}");
}

/// The documentation of `verify` promises it. Chunks of 6 MiB took 64 MiB at once, those of 20 MiB three pieces of 8 MiB each. The threads
/// that block took the memory for it, so that each kept some: the peak of this thread shows that it is the one that takes it.
#[test]
fn at_most_32_mib_are_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let repository = runtime.block_on(async {
        let repository = Repository::create(folder.path().to_str().unwrap()).await.unwrap();
        let session = repository.write("main").await.unwrap();
        for i in 0..12_usize {
            for (kind, len) in [("large", 20 << 20), ("middle", 6 << 20), ("block", 1 << 20)] {
                let mut value = vec![1; len];
                value[..8].copy_from_slice(&i.to_le_bytes());
                session.set(&Key::new(format!("{kind}/{i}")).unwrap(), value).await.unwrap();
            }
        }
        session.commit("much").await.unwrap();
        repository
    });
    let (verified, peak) = crate::testing::alloc::peak(|| runtime.block_on(repository.verify(VerifyScope::Everything)).unwrap());
    assert_eq!((verified.findings.len(), verified.chunks), (0, 36));
    assert!((8 << 20..40 << 20).contains(&peak), "{peak} bytes");
}

/// Puts a list beside `snapshot` that `change` has had its way with.
async fn relisted(snapshot: &Snapshot, change: impl FnOnce(&mut ChangeList)) {
    let objects = snapshot.repository().objects();
    let mut list = objects.read_changes(&snapshot.id()).await.unwrap().unwrap();
    change(&mut list);
    let uploads = Uploads::new(objects);
    uploads.changes(snapshot.id(), list.encode().unwrap().into()).await.unwrap();
    uploads.finish().await.unwrap();
}

/// What makes a list wrong.
type Forgery = fn(&mut ChangeList);

/// A reader notices a list that contradicts the counts and sizes of both manifests. One that leaves out that a value was replaced by
/// another one of its size, it cannot notice; verification finds every difference.
#[tokio::test]
async fn a_list_that_says_other_than_the_manifests_is_found() {
    let (repository, base) = filled().await;
    let session = repository.write("main").await.unwrap();
    for i in 0..40_u64 {
        session.set(&Key::new(format!("k/{}", i * 50)).unwrap(), vec![2; 60]).await.unwrap();
    }
    session.set(&Key::new("more").unwrap(), "more").await.unwrap();
    let snapshot = session.commit("changes").await.unwrap();
    let whole = repository.objects().read_changes(&snapshot.id()).await.unwrap().unwrap();
    assert_eq!(whole.changes.len(), 41);
    assert_eq!(findings(&snapshot).await, []);
    let forgeries: [(Forgery, bool, &str); 6] = [
        (|list| drop(list.changes.pop()), true, "first of more"),
        (|list| drop(list.changes.remove(7)), false, "first of k/350"),
        (|list| list.changes[3].new = Some(Entry::Inline(vec![3; 60].into())), false, "first of k/150"),
        (|list| list.changes[3].old = Some(Entry::Inline(vec![3; 61].into())), true, "first of k/150"),
        (|list| list.changes[0].key = MapKey::new("j"), false, "first of j"),
        (|list| list.manifests.reverse(), true, "other versions"),
    ];
    for (forge, is_noticed, why) in forgeries {
        relisted(&snapshot, forge).await;
        let told = base.recorded_diff(&snapshot, &Prefix::all()).await;
        assert_eq!(told.is_err_and(|error| error.kind() == ErrorKind::Corrupt), is_noticed, "{why}");
        let found = repository.verify(VerifyScope::Everything).await.unwrap().findings;
        let [finding] = found.as_slice() else { panic!("{why}: {found:#?}") };
        assert!(finding.kind == FindingKind::Misrecorded && finding.message.contains(why), "{finding}");
        assert_eq!(
            (finding.object.as_str(), finding.versions.as_slice()),
            (ObjectName::changes(&snapshot.id()).as_str(), &[snapshot.id()][..])
        );
        relisted(&snapshot, |list| *list = whole.clone()).await;
    }
    // What is wrong in the list of a version whose parent is not verified does not show, but what it is the list of does.
    relisted(&snapshot, |list| list.manifests.reverse()).await;
    let one = repository.verify(VerifyScope::Revision(snapshot.clone())).await.unwrap().findings;
    assert_eq!(one.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [FindingKind::Misrecorded]);
}

/// Whether files were pinned anew is said by the list, and compared.
#[tokio::test]
async fn a_list_that_hides_files_that_were_pinned_anew_is_found() {
    let (repository, base) = filled().await;
    let session = repository.write("main").await.unwrap();
    session.set_virtual(&Key::new("v/0").unwrap(), "file:///data/0.nc", 3..9).await.unwrap();
    let snapshot = session.commit("changes").await.unwrap();
    assert_eq!(findings(&snapshot).await, []);
    relisted(&snapshot, |list| list.is_repinned = true).await;
    let found = repository.verify(VerifyScope::Everything).await.unwrap().findings;
    let [finding] = found.as_slice() else { panic!("{found:#?}") };
    assert!(finding.kind == FindingKind::Misrecorded && finding.message.contains("pinned anew"), "{finding}");
    // Then the files are compared, and the answer is right all the same.
    let told = base.recorded_diff(&snapshot, &Prefix::all()).await.unwrap().unwrap();
    assert_eq!(told.try_collect::<Vec<_>>().await.unwrap().len(), 1);
}
