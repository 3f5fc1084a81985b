//! Undo and redo of what happened to a branch last.

use std::time::Duration;

use firnline::{BranchEvent, ErrorKind, MoveOp, Ref, RefKind, SnapshotId, VerifyScope};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::conflicts::Do::Set;
use crate::limits::count;
use crate::merging::{commit, name};
use crate::support::World;

/// The two stacks of an editor.
#[derive(Debug, Default)]
struct Editor {
    now: Option<SnapshotId>,
    undo: Vec<Option<SnapshotId>>,
    redo: Vec<Option<SnapshotId>>,
}

impl Editor {
    fn event(&mut self, now: Option<SnapshotId>) {
        self.undo.push(self.now);
        self.redo.clear();
        self.now = now;
    }

    fn undo(&mut self) -> bool {
        let Some(before) = self.undo.pop() else { return false };
        self.redo.push(self.now);
        self.now = before;
        true
    }

    fn redo(&mut self) -> bool {
        let Some(after) = self.redo.pop() else { return false };
        self.undo.push(self.now);
        self.now = after;
        true
    }
}

#[tokio::test]
async fn undo_and_redo_go_back_and_forth_like_an_editor() {
    let branch = name("b");
    let (mut undone, mut redone, mut refused) = (0, 0, 0);
    for seed in 0..count("FIRN_UNDOS", 12, 400) {
        let mut random = SmallRng::seed_from_u64(seed);
        let world = World::new().await;
        let repository = &world.repository;
        let root = repository.read("main").await.unwrap();
        repository.create_branch(&branch, &root).await.unwrap();
        let mut editor = Editor { now: Some(root.id()), ..Editor::default() };
        let mut known = vec![root.id()];
        let mut shown = Vec::new();
        for n in 0..60 {
            world.clock.advance(Duration::from_secs(1));
            let target = repository.read_revision(&known[random.random_range(0..known.len())].into()).await.unwrap();
            match (random.random_range(0..12), editor.now) {
                (0..=2, Some(_)) => {
                    let made = commit(repository, "b", &[Set("n", n.to_string())]).await;
                    known.push(made.id());
                    editor.event(Some(made.id()));
                }
                (3, Some(_)) => {
                    repository.reset(&branch, &target).await.unwrap();
                    editor.event(Some(target.id()));
                }
                (4, Some(_)) => {
                    repository.delete_branch(&branch).await.unwrap();
                    editor.event(None);
                }
                (4, None) => {
                    // What it was before it was made anew does not come back by undo.
                    repository.create_branch(&branch, &target).await.unwrap();
                    editor = Editor { now: Some(target.id()), ..Editor::default() };
                }
                (5..=8, _) if editor.undo() => {
                    assert_eq!(repository.undo(&branch).await.unwrap().to, editor.now, "seed {seed}, step {n}");
                    undone += 1;
                }
                (5..=8, _) => {
                    assert!(repository.undo(&branch).await.is_err());
                    refused += 1;
                }
                _ if editor.redo() => {
                    assert_eq!(repository.redo(&branch).await.unwrap().to, editor.now, "seed {seed}, step {n}");
                    redone += 1;
                }
                _ => {
                    assert_eq!(repository.redo(&branch).await.unwrap_err().kind(), ErrorKind::NotFound);
                    refused += 1;
                }
            }
            let now = repository.ref_info(&Ref { kind: RefKind::Branch, name: branch.clone() }).await;
            assert_eq!(now.ok().and_then(|info| info.tip), editor.now, "seed {seed}, step {n}");
            shown.push((firnline::Clock::now(&*world.clock), editor.now));
        }
        // Undo rewrites nothing: what the branch showed at each time is still what it showed then.
        for (time, then) in shown {
            assert_eq!(repository.read(&format!("branch:b@{time}")).await.ok().map(|snapshot| snapshot.id()), then, "seed {seed}");
        }
        assert_eq!(repository.verify(VerifyScope::Everything).await.unwrap().found, 0);
    }
    assert!(undone > 50 && redone > 10 && refused > 10, "{undone} undone, {redone} redone, {refused} refused");
}

#[tokio::test]
async fn a_step_says_what_it_takes_back_and_is_not_taken_on_another_state() {
    let world = World::new().await;
    let (repository, main) = (&world.repository, name("main"));
    let refused = repository.undo(&main).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Invalid && refused.to_string().contains("cannot be undone"), "{refused}");
    let first = world.put("k", "1").await;
    let second = world.put("k", "2").await;
    let step = repository.undo_step(&main).await.unwrap();
    assert_eq!((step.op, &step.event), (MoveOp::Undo, &BranchEvent::Commit(second.id())));
    assert_eq!((step.from, step.to), (Some(second.id()), Some(first.id())));
    let third = world.put("k", "3").await;
    assert_eq!(repository.take_step(&step).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(repository.read("main").await.unwrap().id(), third.id());
    let moved = repository.undo(&main).await.unwrap();
    let step = repository.redo_step(&main).await.unwrap();
    assert_eq!((step.op, step.event, step.to), (MoveOp::Redo, BranchEvent::Move(moved), Some(third.id())));
    assert_eq!(repository.undo(&name("none")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// A branch that was moved away and back shows the same, and has other things to undo.
#[tokio::test]
async fn a_step_is_not_taken_after_the_branch_went_away_and_came_back() {
    let world = World::new().await;
    let (repository, branch) = (&world.repository, name("b"));
    let first = world.put("k", "1").await;
    repository.create_branch(&branch, &first).await.unwrap();
    let second = commit(repository, "b", &[Set("k", "2".to_owned())]).await;
    let step = repository.undo_step(&branch).await.unwrap();
    assert_eq!(step.to, Some(first.id()));
    repository.reset(&branch, &first).await.unwrap();
    repository.reset(&branch, &second).await.unwrap();
    assert_eq!(repository.take_step(&step).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(repository.moves(&Ref::branch(branch.clone())).await.unwrap().len(), 3, "nothing was recorded");
    // The same for a redo, and for a branch that is to be made again.
    repository.undo(&branch).await.unwrap();
    let step = repository.redo_step(&branch).await.unwrap();
    commit(repository, "b", &[Set("k", "3".to_owned())]).await;
    repository.reset(&branch, &first).await.unwrap();
    assert_eq!(repository.take_step(&step).await.unwrap_err().kind(), ErrorKind::Conflict);
    repository.delete_branch(&branch).await.unwrap();
    let step = repository.undo_step(&branch).await.unwrap();
    assert_eq!((step.from, step.to), (None, Some(first.id())));
    repository.create_branch(&branch, &second).await.unwrap();
    repository.delete_branch(&branch).await.unwrap();
    assert_eq!(repository.take_step(&step).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(repository.undo(&branch).await.unwrap().to, Some(second.id()));
}

/// A build that knows only the first moves must refuse the record rather than take it for a damaged one and replace it.
#[tokio::test]
async fn a_record_with_later_moves_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let repository = &firnline::Repository::create(directory.path().to_str().unwrap()).await.unwrap();
    let main = name("main");
    let record = || {
        let bytes = std::fs::read(directory.path().join("refs/branches/main.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
    };
    commit(repository, "main", &[Set("k", "1".to_owned())]).await;
    repository.reset(&main, &repository.read("main~1").await.unwrap()).await.unwrap();
    assert_eq!(record()["v"], 1);
    repository.undo(&main).await.unwrap();
    assert_eq!((record()["v"].clone(), record()["moves"][2]["op"].clone()), (2.into(), "undo".into()));
    // It stays so when those moves are in blocks of their own.
    for n in 0..20 {
        commit(repository, "main", &[Set("k", n.to_string())]).await;
        repository.reset(&main, &repository.read("main~1").await.unwrap()).await.unwrap();
    }
    let now = record();
    assert_eq!(now["v"], 2);
    assert!(now["moves"].as_array().unwrap().iter().all(|one| one["op"] == "reset") && !now["older"].is_null());
    let ops: Vec<_> = repository.moves(&Ref::branch(main)).await.unwrap().iter().map(|one| one.op).collect();
    assert_eq!((ops.len(), ops[2]), (23, MoveOp::Undo));
}
