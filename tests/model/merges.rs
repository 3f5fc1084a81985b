//! Merges of branches of a random history, played on the engine and on the model.

use std::collections::BTreeSet;

use firnline::{Conflict, ErrorDetail, ErrorKind, MergeOptions, OnConflict, RefName, SnapshotId};
use rand::RngExt;

use super::history::{BRANCHES, History, count};
use super::oracle::{Staged, Tree};
use super::zarr::Race;

/// What leads from one tree to another.
fn difference(from: &Tree, to: &Tree) -> Staged {
    let mut staged = Staged::default();
    for key in from.keys().chain(to.keys()).filter(|key| from.get(*key) != to.get(*key)) {
        staged.explicit.insert(key.clone(), to.get(key).cloned());
    }
    staged
}

impl History<'_> {
    /// The latest common ancestors, by their definition.
    fn common(&self, a: SnapshotId, b: SnapshotId) -> Vec<SnapshotId> {
        let (a, b) = (&self.commits[&a].behind, &self.commits[&b].behind);
        let common: BTreeSet<_> = a.intersection(b).copied().collect();
        let is_behind = |id: &SnapshotId| common.iter().any(|other| other != id && self.commits[other].behind.contains(id));
        common.iter().filter(|id| !is_behind(id)).copied().collect()
    }

    /// Two branches go on by themselves, and one is merged into the other.
    pub(crate) async fn part_and_merge(&mut self) {
        let Some(one) = self.live_branch() else { return };
        let two = (one + self.random.random_range(1..BRANCHES.len())) % BRANCHES.len();
        if self.branches[two].now().is_none() {
            let repository = self.repository();
            let back = self.random.random_range(0..self.commits[&self.branches[one].now().unwrap()].line.len().min(3));
            let target = repository.read(&format!("branch:{}~{back}", BRANCHES[one])).await.unwrap();
            let moved = repository.create_branch(&RefName::new(BRANCHES[two]).unwrap(), &target).await.unwrap();
            self.branches[two].events.push((moved.time, moved.to));
        }
        for branch in [one, two] {
            let mut open = self.open(branch).await;
            self.stage(&mut open).await;
            self.commit(open).await;
        }
        let (into, from) = if self.random.random() { (one, two) } else { (two, one) };
        self.merge(into, from).await;
    }

    async fn merge(&mut self, into: usize, from: usize) {
        let ours = self.branches[into].now().unwrap();
        let line = &self.commits[&self.branches[from].now().unwrap()].line;
        let theirs = line[line.len() - 1 - self.random.random_range(0..line.len().min(3))];
        let repository = self.repository();
        let (name, other) = (RefName::new(BRANCHES[into]).unwrap(), repository.read_revision(&theirs.into()).await.unwrap());
        self.attempts += 1;
        let policy = [OnConflict::Refuse, OnConflict::Ours, OnConflict::Theirs][self.random.random_range(0..3)];
        let mut options = MergeOptions::from(format!("merge {}", self.attempts)).on_conflict(policy);
        if self.commits[&ours].behind.contains(&theirs) {
            let done = repository.merge(&name, &other, options).await.unwrap().commit().await.unwrap();
            assert!(!done.is_new && done.snapshot.id() == ours, "seed {}: nothing to merge", self.seed);
            return;
        }
        let common = self.common(ours, theirs);
        let base = common[self.random.random_range(0..common.len())];
        if common.len() > 1 {
            let refused = repository.merge(&name, &other, options.clone()).await.unwrap_err();
            let names_all = common.iter().all(|id| refused.to_string().contains(&id.to_string()));
            assert!(refused.kind() == ErrorKind::Conflict && names_all, "seed {}: {refused}", self.seed);
            options = options.base(repository.read_revision(&base.into()).await.unwrap());
        }
        let (base_tree, tip_tree) = (self.commits[&base].tree.clone(), self.commits[&ours].tree.clone());
        let staged = difference(&base_tree, &self.commits[&theirs].tree);
        let race = Race { base: &base_tree, tip: &tip_tree, staged: &staged };
        let conflicts = race.conflicts();
        // Another writer merges the same at the same time, with words of its own: two equal commits of one moment would be one snapshot.
        let others = options.clone().author("another writer");
        let twice = if self.random.random_ratio(1, 3) { repository.merge(&name, &other, others).await.ok() } else { None };
        let result = repository.merge(&name, &other, options).await;
        if policy == OnConflict::Refuse && !conflicts.is_empty() {
            let refused = result.expect_err("both sides changed the same");
            let Some(ErrorDetail::MergeConflicts { named, more: 0 }) = refused.detail() else { panic!("{refused}") };
            assert_eq!(*named, conflicts, "seed {}", self.seed);
            return;
        }
        let merge = result.unwrap_or_else(|e| panic!("seed {}: {e:?}", self.seed));
        assert_eq!(merge.base, base, "seed {}", self.seed);
        assert_eq!(merge.settled.iter().map(Conflict::to_string).collect::<Vec<_>>(), conflicts, "seed {}: what was settled", self.seed);
        let snapshot = merge.commit().await.unwrap_or_else(|e| panic!("seed {}: {e:?}", self.seed)).snapshot;
        if let Some(twice) = twice {
            let found = twice.commit().await.unwrap_or_else(|e| panic!("seed {}: {e:?}", self.seed));
            assert!(!found.is_new && found.snapshot.id() == snapshot.id(), "seed {}: it is merged already", self.seed);
        }
        // What is staged is theirs.
        let tree = match policy {
            OnConflict::Ours if !conflicts.is_empty() => race.theirs_win(),
            OnConflict::Theirs if !conflicts.is_empty() => race.ours_win(),
            _ => staged.apply(&tip_tree),
        };
        assert_eq!(snapshot.record().parents, [ours, theirs], "seed {}", self.seed);
        count(&self.coverage.merges);
        let line = self.commits[&ours].line.clone();
        self.learn(&snapshot, tree, line);
        self.branches[into].events.push((snapshot.record().time, Some(snapshot.id())));
        self.check_snapshot(&snapshot).await;
    }
}
