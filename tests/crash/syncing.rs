//! A push while any single request to the target, or to the source, fails or is not answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firnline::storage::fault::{Fault, Faulty};
use firnline::storage::{Memory, Storage};
use firnline::{CreateOptions, ErrorKind, ImportSteps, MergeOptions, Ref, RefOutcome, Repository, SyncOptions, VerifyScope};

use super::world::{Ticking, branch, key, name, read_everything};

async fn repository(memory: &Memory, clock: &Ticking) -> Repository {
    Repository::create_storage(Arc::new(memory.clone()), CreateOptions::from(clock.options())).await.unwrap()
}

async fn put(repository: &Repository, branch: &str, salt: u8) {
    let session = repository.write(branch).await.unwrap();
    session.set(&key(&format!("{branch}/{salt}")), vec![salt; 2_000]).await.unwrap();
    session.set(&key("shared/inline"), vec![salt; 20]).await.unwrap();
    session.commit(format!("{branch} {salt}")).await.unwrap();
}

/// A repository with a merge, a branch that was reset, and a tag; the target has a part of it already.
async fn scenario(source: &Memory, target: &Memory, clock: &Ticking) -> (Repository, Repository) {
    let (from, to) = (repository(source, clock).await, repository(target, clock).await);
    put(&from, "main", 1).await;
    from.push(&to, &SyncOptions::default()).await.unwrap();
    from.create_branch(&name("side"), &from.read("main").await.unwrap()).await.unwrap();
    for salt in 2..4 {
        put(&from, "side", salt).await;
    }
    put(&from, "main", 4).await;
    let side = from.read("side").await.unwrap();
    let prefix = |merge: MergeOptions| merge.on_conflict(firnline::OnConflict::Theirs);
    from.merge(&name("main"), &side, prefix(MergeOptions::default())).await.unwrap().commit().await.unwrap();
    from.create_tag(&name("v1"), &side, "a tag").await.unwrap();
    (from, to)
}

/// Plays the scenario with one request gone wrong; whether the scenario has that request.
async fn play(at: u64, is_answer_lost: bool, of_source: bool) -> bool {
    let (source, target, clock) = (Memory::new(), Memory::new(), Ticking::new());
    let (from, to) = scenario(&source, &target, &clock).await;
    let fired = Arc::new(AtomicBool::new(false));
    let seen = fired.clone();
    let store = if of_source { source } else { target };
    let weather: Arc<dyn Storage> = Arc::new(Faulty::new(Arc::new(store), move |call| {
        if call.number != at {
            return Fault::None;
        }
        seen.store(true, Ordering::Relaxed);
        if is_answer_lost { Fault::After } else { Fault::Before }
    }));
    let options = SyncOptions::default().steps(ImportSteps::default().keys(1));
    let before = to.read("main").await.unwrap().id();
    let Ok(shaky) = Repository::open_storage(weather, clock.options()).await else { return true };
    let pushed = if of_source { shaky.push(&to, &options).await } else { from.push(&shaky, &options).await };
    if let Err(e) = &pushed {
        assert!(matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::OutcomeUnknown), "request {at}: {e:?}");
    }
    let names = ["main", "side"].map(branch).into_iter().chain([Ref::tag(name("v1"))]).collect::<Vec<_>>();
    let tips = to.branches().await.unwrap();
    // Whatever refs it has moved show whole versions of the source.
    for info in tips.iter().filter(|info| !info.name.as_str().starts_with("pushing-")) {
        let theirs = from.read(&format!("branch:{}", info.name)).await.unwrap().id();
        let shown = info.tip.unwrap();
        assert!(shown == theirs || shown == before, "request {at}: {} shows {shown}", info.name);
    }
    assert_eq!(to.verify(VerifyScope::Everything).await.unwrap().findings, [], "request {at}");
    let again = from.push(&to, &options).await.unwrap_or_else(|e| panic!("request {at}, again: {e:?}"));
    if pushed.is_ok() {
        assert!(again.refs.iter().all(|one| one.outcome == RefOutcome::Unchanged), "request {at}: {again:?}");
    }
    for reference in ["branch:main", "branch:side", "tag:v1"] {
        assert_eq!(from.read(reference).await.unwrap().id(), to.read(reference).await.unwrap().id(), "request {at}");
    }
    // The saves of a run whose last request failed stay, and are found by the next; nothing else is left.
    let saves: Vec<_> = to.branches().await.unwrap().into_iter().filter(|info| info.name.as_str().starts_with("pushing-")).collect();
    for info in &saves {
        to.delete_branch(&info.name).await.unwrap();
    }
    let found = read_everything(&to, &names).await;
    assert!(found.trees.len() >= 6, "request {at}: {}", found.trees.len());
    fired.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_push_moves_whole_versions_or_nothing_whatever_request_fails() {
    for of_source in [false, true] {
        for is_answer_lost in [false, true] {
            let mut at = 0;
            while play(at, is_answer_lost, of_source).await {
                at += 1;
                assert!(at < 2_000, "the scenario does not end");
            }
            assert!(at > 20, "{at} requests");
        }
    }
}
