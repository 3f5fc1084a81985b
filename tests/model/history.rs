//! One random history, played on the engine and on the model.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use firnline::storage::Storage;
use firnline::{
    CommitOptions, Conflict, CreateOptions, Entry, ErrorKind, Key, KeyColumn, OnConflict, OpenOptions, Prefix, RefName, Repository,
    Snapshot, SnapshotId, Timestamp, VirtualOptions, VirtualRefs, WriteSession,
};
use futures::TryStreamExt;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::oracle::{Commit, Shown, SkewedClock, Staged, Tree, Value, dependencies};
use super::zarr::{self, Race};

/// How long a history is, and how long a restless one is, in which branches are moved more often than committed to.
const STEPS: usize = 24;
const RESTLESS_STEPS: usize = 60;
pub(crate) const BRANCHES: &[&str] = &["main", "b/one", "two"];
const KEYS: &[&str] = &[
    "zarr.json",
    "a/zarr.json",
    "a/c/0/0",
    "a/c/0/1",
    "a/c/0/10",
    "a/c/1/0",
    "ab/c/0",
    "b/.zarray",
    "b/0.0",
    "b/0.1",
    "z é",
    "a/b/zarr.json",
    "a/b/0",
    "b/.zgroup",
];
const PREFIXES: &[&str] = &["", "a/", "a/b/", "a/c/", "a/c/0/", "b/", "none/"];
pub(crate) const FILES: &[&str] = &["file:///data/one.nc", "file:///data/two.nc", "file:///other/three.nc"];

/// How often the hard cases came up.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    commits: AtomicU64,
    unchanged: AtomicU64,
    rebased: AtomicU64,
    conflicts: AtomicU64,
    nodes: AtomicU64,
    ours: AtomicU64,
    theirs: AtomicU64,
    resets: AtomicU64,
    recreated: AtomicU64,
    asked: AtomicU64,
    finals: AtomicU64,
    absent: AtomicU64,
    pub(crate) removed: AtomicU64,
    pub(crate) merges: AtomicU64,
}

impl Seen {
    pub(crate) fn require_coverage(&self) {
        for (name, count) in self.counts() {
            assert!(count >= 1000, "only {count} cases of {name}");
        }
    }

    fn counts(&self) -> [(&'static str, u64); 14] {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        [
            ("commits", get(&self.commits)),
            ("unchanged commits", get(&self.unchanged)),
            ("rebases", get(&self.rebased)),
            ("conflicts", get(&self.conflicts)),
            ("conflicts over nodes", get(&self.nodes)),
            ("conflicts that ours won", get(&self.ours)),
            ("conflicts that theirs won", get(&self.theirs)),
            ("resets", get(&self.resets)),
            ("re-created branches", get(&self.recreated)),
            ("questions about a time", get(&self.asked)),
            ("final answers", get(&self.finals)),
            ("answers that nothing was there", get(&self.absent)),
            ("objects of no version, removed", get(&self.removed)),
            ("merges", get(&self.merges)),
        ]
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.counts().iter().map(|(name, count)| format!("{count} {name}")).collect();
        f.write_str(&parts.join(", "))
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A session on both sides.
pub(crate) struct Open {
    engine: WriteSession,
    model: Staged,
    branch: usize,
    base: SnapshotId,
}

pub(crate) struct History<'s> {
    pub(crate) random: SmallRng,
    pub(crate) seed: u64,
    pub(crate) coverage: &'s Seen,
    pub(crate) storage: Arc<dyn Storage>,
    world: Arc<AtomicI64>,
    pub(crate) repositories: Vec<Repository>,
    pub(crate) commits: HashMap<SnapshotId, Commit>,
    pub(crate) branches: Vec<Shown>,
    finals: Vec<(usize, Timestamp, Option<SnapshotId>)>,
    pub(crate) attempts: u64,
}

impl<'s> History<'s> {
    /// Plays a history on an empty store, which may tell no time: the world of a history has its own.
    pub(crate) async fn play(seed: u64, coverage: &'s Seen, storage: Arc<dyn Storage>) {
        let mut history = Self::start(seed, coverage, storage).await;
        let restless = seed.is_multiple_of(4);
        for _ in 0..if restless { RESTLESS_STEPS } else { STEPS } {
            history.step(restless).await;
        }
        history.check_finals().await;
        history.check_everything().await;
    }

    async fn start(seed: u64, coverage: &'s Seen, storage: Arc<dyn Storage>) -> Self {
        let world = Arc::new(AtomicI64::new(1_700_000_000_000_000));
        let random = SmallRng::seed_from_u64(seed);
        let mut history = Self {
            random,
            seed,
            coverage,
            storage,
            world,
            repositories: Vec::new(),
            commits: HashMap::new(),
            branches: vec![Shown::default(); BRANCHES.len()],
            finals: Vec::new(),
            attempts: 0,
        };
        let options = CreateOptions::from(history.options());
        let first = Repository::create_storage(history.storage.clone(), options).await.unwrap();
        let root = first.read("main").await.unwrap();
        let moved = first.moves(&firnline::Ref::branch(RefName::new("main").unwrap())).await.unwrap();
        history.branches[0].events.push((moved[0].time, Some(root.id())));
        history.learn(&root, Tree::new(), Vec::new());
        history.repositories = vec![first, history.reopen().await];
        history
    }

    fn options(&mut self) -> OpenOptions {
        // Up to four minutes wrong, on either side, less than what makes a branch look as if from the future.
        let skew = self.random.random_range(-240_000_000..=240_000_000);
        let clock = SkewedClock { world: self.world.clone(), skew };
        let mut options = OpenOptions::default().clock(Arc::new(clock)).without_pauses();
        // Half of the repositories keep next to nothing of what is staged in memory.
        options.staged_bytes = [0, 500, 3000, 64 << 20, 64 << 20, 64 << 20][self.random.random_range(0..6)];
        options
    }

    async fn reopen(&mut self) -> Repository {
        let options = self.options();
        Repository::open_storage(self.storage.clone(), options).await.unwrap()
    }

    pub(crate) fn learn(&mut self, snapshot: &Snapshot, tree: Tree, mut line: Vec<SnapshotId>) {
        line.push(snapshot.id());
        let parents = snapshot.record().parents.iter();
        let behind = parents.flat_map(|parent| self.commits[parent].behind.clone()).chain([snapshot.id()]).collect();
        self.commits.insert(snapshot.id(), Commit { tree, time: snapshot.record().time, line, behind });
    }

    async fn step(&mut self, restless: bool) {
        // Mostly the clock goes on, sometimes it stands, sometimes it is set back.
        let tick = [0, 1, 1_000, 1_000_000, 60_000_000, -5_000_000][self.random.random_range(0..6)];
        self.world.fetch_add(tick, Ordering::Relaxed);
        match self.random.random_range(if restless { 5..28 } else { 0..20 }) {
            0..=6 => self.one_session().await,
            7..=10 => self.two_sessions().await,
            13 | 24 => Box::pin(self.part_and_merge()).await,
            11 | 20..=23 => self.create_or_delete_branch().await,
            12 => self.collect().await,
            14 => {
                let at = self.random.random_range(0..self.repositories.len());
                self.repositories[at] = self.reopen().await;
            }
            15..=19 => self.ask_about_a_time().await,
            _ => self.reset().await,
        }
    }

    pub(crate) fn repository(&mut self) -> Repository {
        let at = self.random.random_range(0..self.repositories.len());
        self.repositories[at].clone()
    }

    pub(crate) fn live_branch(&mut self) -> Option<usize> {
        let at = self.random.random_range(0..BRANCHES.len());
        self.branches[at].now().map(|_| at)
    }

    pub(crate) async fn open(&mut self, branch: usize) -> Open {
        let engine = self.repository().write(BRANCHES[branch]).await.unwrap();
        let base = self.branches[branch].now().unwrap();
        assert_eq!(engine.base().id(), base, "seed {}: a session opens on the tip", self.seed);
        Open { engine, model: Staged::default(), branch, base }
    }

    /// Stages changes, sometimes in a fork that is merged.
    pub(crate) async fn stage(&mut self, open: &mut Open) {
        if self.random.random_range(0..4) > 0 {
            return self.stage_in(&open.engine, &mut open.model, open.base).await;
        }
        let fork = self.repository().resume_fork(&open.engine.fork().await.unwrap()).await.unwrap();
        self.stage_in(&fork, &mut open.model, open.base).await;
        open.engine.merge(&fork.finish().await.unwrap()).await.unwrap();
        self.check_staged(&open.engine, &open.model, open.base).await;
    }

    async fn stage_in(&mut self, engine: &WriteSession, model: &mut Staged, base: SnapshotId) {
        for _ in 0..self.random.random_range(0..5) {
            let text = KEYS[self.random.random_range(0..KEYS.len())];
            let key: Key = text.parse().unwrap();
            match self.random.random_range(0..11) {
                10 => self.stage_many(engine, model).await,
                0..=4 => {
                    let length = [0, 1, 5, 1024, 1025, 5000][self.random.random_range(0..6)];
                    let documents = zarr::texts(text);
                    let value = if documents.is_empty() || self.random.random_bool(0.1) {
                        vec![self.random.random_range(0..3u8); length]
                    } else {
                        documents[self.random.random_range(0..documents.len())].as_bytes().to_vec()
                    };
                    engine.set(&key, value.clone()).await.unwrap();
                    model.explicit.insert(text.to_owned(), Some(Value::Bytes(value)));
                }
                5 | 6 => {
                    let url = FILES[self.random.random_range(0..FILES.len())].to_owned();
                    let (offset, length) = (self.random.random_range(0..3) * 100, self.random.random_range(1..3) * 10);
                    engine.set_virtual(&key, &url, offset..offset + length).await.unwrap();
                    model.explicit.insert(text.to_owned(), Some(Value::Virtual { url, offset, length }));
                }
                7 | 8 => {
                    // Where there is nothing to delete, nothing is staged.
                    let is_there = model.apply(&self.commits[&base].tree).contains_key(text);
                    assert_eq!(engine.delete(&key).await.unwrap(), is_there, "seed {}: {text}", self.seed);
                    if is_there {
                        model.explicit.insert(text.to_owned(), None);
                    }
                }
                _ => {
                    let prefix = PREFIXES[self.random.random_range(0..PREFIXES.len())];
                    engine.delete_prefix(&Prefix::new(prefix).unwrap());
                    model.delete_prefix(prefix);
                }
            }
        }
        self.check_staged(engine, model, base).await;
    }

    /// A session reads its own writes.
    async fn check_staged(&self, engine: &WriteSession, model: &Staged, base: SnapshotId) {
        let want = model.apply(&self.commits[&base].tree);
        let listed = engine.list(&Prefix::all()).await.unwrap();
        assert_eq!(listed.len(), want.len(), "seed {}: keys staged", self.seed);
        for (key, entry) in listed {
            self.check_entry(&want, &key, &entry);
        }
    }

    /// Stages references by one call, more of them than there are keys, so that a run is made of them.
    async fn stage_many(&mut self, engine: &WriteSession, model: &mut Staged) {
        let count = [20, 300][self.random.random_range(0..2)];
        let below = self.random.random_range(1..KEYS.len());
        let mut column = |below: usize| (0..count).map(|_| self.random.random_range(0..below)).collect::<Vec<_>>();
        let (names, url, offset, length) = (column(below), column(FILES.len()), column(3), column(2));
        let names: Vec<&str> = names.into_iter().map(|n| KEYS[n]).collect();
        let offset: Vec<u64> = offset.into_iter().map(|n| n as u64 * 100).collect();
        let length: Vec<u64> = length.into_iter().map(|n| n as u64 * 10 + 10).collect();
        for (((name, url), offset), length) in names.iter().zip(&url).zip(&offset).zip(&length) {
            let value = Value::Virtual { url: FILES[*url].to_owned(), offset: *offset, length: *length };
            model.explicit.insert((*name).to_owned(), Some(value));
        }
        let url: Vec<u32> = url.into_iter().map(|n| n.try_into().unwrap()).collect();
        let keys = KeyColumn::Keys(&names);
        let refs = VirtualRefs { keys, urls: FILES, url: &url, offset: &offset, length: &length, validators: &[] };
        engine.set_virtual_many(&refs, &VirtualOptions::default()).await.unwrap();
    }

    fn check_entry(&self, want: &Tree, key: &Key, entry: &Entry) {
        match (want.get(key.as_str()), entry) {
            (Some(Value::Bytes(bytes)), Entry::Inline(inline)) => assert_eq!(inline, bytes, "seed {}: {key}", self.seed),
            (Some(Value::Bytes(bytes)), Entry::Chunk { size, .. }) => assert_eq!(*size, bytes.len() as u64, "seed {}: {key}", self.seed),
            (Some(Value::Virtual { offset, length, .. }), Entry::Virtual { offset: o, length: l, .. }) => {
                assert_eq!((offset, length), (o, l), "seed {}: {key}", self.seed);
            }
            (want, entry) => panic!("seed {}: {key} should be {want:?} and is {entry:?}", self.seed),
        }
    }

    async fn one_session(&mut self) {
        let Some(branch) = self.live_branch() else { return };
        let mut open = self.open(branch).await;
        self.stage(&mut open).await;
        self.commit(open).await;
    }

    /// Two sessions from one tip; the second finds the branch moved.
    async fn two_sessions(&mut self) {
        let Some(branch) = self.live_branch() else { return };
        let mut first = self.open(branch).await;
        let mut second = self.open(branch).await;
        self.stage(&mut first).await;
        self.stage(&mut second).await;
        self.commit(first).await;
        self.commit(second).await;
    }

    pub(crate) async fn commit(&mut self, open: Open) {
        let Open { engine, model, branch, base } = open;
        let tip = self.branches[branch].now().unwrap();
        let (base_tree, tip_commit) = (self.commits[&base].tree.clone(), self.commits[&tip].clone());
        // Two equal commits on equal branches at one moment would be one snapshot, and the model could not tell them apart.
        self.attempts += 1;
        let policy = [OnConflict::Refuse, OnConflict::Refuse, OnConflict::Ours, OnConflict::Theirs][self.random.random_range(0..4)];
        let options = CommitOptions::from(format!("message {}\nmore", self.attempts)).on_conflict(policy);
        // The engine notices that the branch moved only if it has something to write.
        let writes = model.apply(&base_tree) != base_tree;
        let result = engine.commit_settling(options).await;
        let race = Race { base: &base_tree, tip: &tip_commit.tree, staged: &model };
        let conflicts = if writes && tip != base { race.conflicts() } else { Vec::new() };
        let names = |conflicts: &[Conflict]| conflicts.iter().map(ToString::to_string).collect::<Vec<_>>();
        if !conflicts.is_empty() && !race.nodes().is_empty() {
            count(&self.coverage.nodes);
        }
        if policy == OnConflict::Refuse && !conflicts.is_empty() {
            count(&self.coverage.conflicts);
            let failed = result.expect_err("both sides changed the same keys");
            assert_eq!(failed.kind(), ErrorKind::Conflict, "seed {}: {failed}", self.seed);
            assert_eq!(names(failed.conflicts()), conflicts, "seed {}", self.seed);
            let kept = failed.into_session();
            assert_eq!(kept.base().id(), base, "seed {}: the session is as it was", self.seed);
            assert!(!kept.is_unchanged());
            return;
        }
        let committed = result.unwrap_or_else(|e| panic!("seed {}: {e:?}", self.seed));
        assert_eq!(names(&committed.settled), conflicts, "seed {}: what was settled", self.seed);
        let snapshot = committed.snapshot;
        let tree = match policy {
            OnConflict::Ours if !conflicts.is_empty() => {
                count(&self.coverage.ours);
                race.ours_win()
            }
            OnConflict::Theirs if !conflicts.is_empty() => {
                count(&self.coverage.theirs);
                race.theirs_win()
            }
            _ => model.apply(&tip_commit.tree),
        };
        if self.commits.contains_key(&snapshot.id()) {
            count(&self.coverage.unchanged);
            let expected = if writes { tip } else { base };
            assert_eq!(snapshot.id(), expected, "seed {}: nothing changed", self.seed);
            assert!(!writes || tree == tip_commit.tree, "seed {}: something was to be committed", self.seed);
            return;
        }
        count(&self.coverage.commits);
        if tip != base {
            count(&self.coverage.rebased);
        }
        let time = snapshot.record().time;
        assert!(self.branches[branch].last().is_some_and(|last| last < time), "seed {}: time runs forward", self.seed);
        self.learn(&snapshot, tree, tip_commit.line);
        self.branches[branch].events.push((time, Some(snapshot.id())));
        self.check_snapshot(&snapshot).await;
    }

    async fn create_or_delete_branch(&mut self) {
        let at = self.random.random_range(0..BRANCHES.len());
        let name = RefName::new(BRANCHES[at]).unwrap();
        let repository = self.repository();
        let moved = if self.branches[at].now().is_some() {
            repository.delete_branch(&name).await.unwrap()
        } else {
            let Some(from) = self.live_branch() else { return };
            let target = repository.read(&format!("branch:{}", BRANCHES[from])).await.unwrap();
            if !self.branches[at].events.is_empty() {
                count(&self.coverage.recreated);
            }
            repository.create_branch(&name, &target).await.unwrap()
        };
        self.branches[at].events.push((moved.time, moved.to));
    }

    async fn reset(&mut self) {
        let Some(branch) = self.live_branch() else { return };
        let Some(from) = self.live_branch() else { return };
        let repository = self.repository();
        let tip = self.branches[from].now().unwrap();
        let line = &self.commits[&tip].line;
        let back = self.random.random_range(0..line.len());
        let target = repository.read(&format!("branch:{}~{back}", BRANCHES[from])).await.unwrap();
        assert_eq!(target.id(), line[line.len() - 1 - back], "seed {}: {back} steps back", self.seed);
        let moved = repository.reset(&RefName::new(BRANCHES[branch]).unwrap(), &target).await.unwrap();
        count(&self.coverage.resets);
        assert!(self.branches[branch].last().is_some_and(|last| last < moved.time), "seed {}: moves come later", self.seed);
        self.branches[branch].events.push((moved.time, moved.to));
    }

    async fn ask_about_a_time(&mut self) {
        let branch = self.random.random_range(0..BRANCHES.len());
        let events = &self.branches[branch].events;
        let time = if events.is_empty() || self.random.random_bool(0.2) {
            Timestamp::from_micros(self.world.load(Ordering::Relaxed) + self.random.random_range(-400_000_000..400_000_000))
        } else {
            let (time, _) = events[self.random.random_range(0..events.len())];
            Timestamp::from_micros(time.micros() + self.random.random_range(-2..=2))
        };
        self.ask(branch, time).await;
    }

    async fn ask(&mut self, branch: usize, time: Timestamp) {
        count(&self.coverage.asked);
        let repository = self.repository();
        let want = self.branches[branch].at(time);
        match repository.as_of(&RefName::new(BRANCHES[branch]).unwrap(), time).await {
            Ok(answer) => {
                assert_eq!(Some(answer.id), want, "seed {}: {} at {time}", self.seed, BRANCHES[branch]);
                if answer.is_final {
                    count(&self.coverage.finals);
                    self.finals.push((branch, time, want));
                }
                let resolved = repository.read(&format!("branch:{}@{time}", BRANCHES[branch])).await.unwrap();
                assert_eq!(resolved.id(), answer.id, "seed {}: the revision says the same", self.seed);
            }
            Err(e) => {
                count(&self.coverage.absent);
                assert_eq!(e.kind(), ErrorKind::NotFound, "seed {}: {e:?}", self.seed);
                assert_eq!(want, None, "seed {}: {} at {time}: {e}", self.seed, BRANCHES[branch]);
            }
        }
    }

    /// No answer that was called final may have changed, and every printed commit time finds its commit.
    async fn check_finals(&mut self) {
        for (branch, time, want) in std::mem::take(&mut self.finals) {
            let repository = self.repository();
            let answer = repository.as_of(&RefName::new(BRANCHES[branch]).unwrap(), time).await.unwrap();
            assert_eq!(Some(answer.id), want, "seed {}: a final answer changed", self.seed);
        }
        for branch in 0..BRANCHES.len() {
            for (time, _) in self.branches[branch].events.clone() {
                self.ask(branch, time).await;
            }
        }
    }

    async fn check_everything(&mut self) {
        self.repositories = vec![self.reopen().await];
        self.check_users().await;
        let mut before: Option<Snapshot> = None;
        for (branch, name) in BRANCHES.iter().enumerate() {
            if self.branches[branch].now().is_some() {
                let snapshot = self.repositories[0].read(&format!("branch:{name}")).await.unwrap();
                assert_eq!(Some(snapshot.id()), self.branches[branch].now(), "seed {}", self.seed);
                self.check_snapshot(&snapshot).await;
                self.check_totals(&snapshot).await;
                self.check_file_history(&snapshot).await;
                if let Some(before) = before.replace(snapshot.clone()) {
                    self.check_file_changes(&before, &snapshot).await;
                }
                let log: Vec<_> = snapshot.log().try_collect().await.unwrap();
                let line: Vec<_> = log.iter().rev().map(|e| e.id).collect();
                assert_eq!(line, self.commits[&snapshot.id()].line, "seed {}: the log", self.seed);
                assert!(log.is_sorted_by(|a, b| a.time > b.time), "seed {}: the log runs backwards", self.seed);
                for entry in &log {
                    assert_eq!(entry.time, self.commits[&entry.id].time, "seed {}", self.seed);
                }
            }
        }
    }

    pub(crate) async fn check_snapshot(&mut self, snapshot: &Snapshot) {
        let want = self.commits[&snapshot.id()].tree.clone();
        let listed: Vec<_> = snapshot.list(&Prefix::all()).try_collect().await.unwrap();
        assert_eq!(listed.len(), want.len(), "seed {}: keys of {}", self.seed, snapshot.id());
        for (key, entry) in &listed {
            self.check_entry(&want, key, entry);
            if let Some(Value::Bytes(bytes)) = want.get(key.as_str()) {
                assert_eq!(snapshot.get(key).await.unwrap().as_deref(), Some(bytes.as_slice()), "seed {}: {key}", self.seed);
            }
        }
        let found: BTreeMap<_, _> =
            snapshot.dependencies().map_ok(|d| (d.url, (d.record.refs, d.record.bytes))).try_collect().await.unwrap();
        assert_eq!(found, dependencies(&want), "seed {}: dependencies", self.seed);
    }
}
