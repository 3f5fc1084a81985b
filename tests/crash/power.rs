//! A machine that loses its power at a random change, and with it everything that no barrier made durable.
//!
//! Every history has two lives: the second begins on what the first left behind, torn objects included, with the same few
//! values, so that whoever skipped writing a name because it exists would be found out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use firnline::storage::fault::Crashing;
use firnline::storage::{Memory, Storage};
use firnline::{CreateOptions, ErrorKind, Pending, Ref, Repository, Settlement, SnapshotId, WriteSession};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::world::{Change, Found, Ticking, Tree, Value, applied, branch, log, name, read_everything, read_whole, staged};

/// How many histories a whole run cuts off.
const SEEDS: u64 = 1_000;
const STEPS: usize = 24;
const BRANCHES: &[&str] = &["main", "b/one", "two"];
const TAGS: &[&str] = &["v1", "v2"];
const KEYS: &[&str] = &["zarr.json", "a/zarr.json", "a/c/0/0", "a/c/0/1", "a/c/1/0", "b/.zarray", "b/0.0", "b/0.1"];
const PREFIXES: &[&str] = &["a/", "a/c/", "b/"];
const FILES: &[&str] = &["file:///data/one.nc", "file:///data/two.nc"];

/// How often the cases came up that the test is about.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: AtomicU64,
    cut_commits: AtomicU64,
    unknown: AtomicU64,
    landed: AtomicU64,
    cut_moves: AtomicU64,
    cut_creations: AtomicU64,
    rebased: AtomicU64,
    conflicts: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_power_loss_takes_nothing_that_was_acknowledged() {
    let seeds = super::support::count("FIRN_CRASH_SEEDS", 60, SEEDS);
    let (next, coverage) = (AtomicU64::new(0), Seen::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    runtime.block_on(history(seed, &coverage));
                }
            });
        }
    });
    println!("{seeds} histories: {coverage:?}");
    if seeds >= SEEDS {
        let Seen { acknowledged, cut_commits, unknown, landed, cut_moves, cut_creations, rebased, conflicts } = &coverage;
        for counter in [acknowledged, cut_commits, unknown, landed, cut_moves, cut_creations, rebased, conflicts] {
            assert!(counter.load(Ordering::Relaxed) >= 30, "a case that the test is about was rare: {coverage:?}");
        }
    }
}

/// Two lives and a look at what is left.
async fn history(seed: u64, coverage: &Seen) {
    let mut model = Model::default();
    let clock = Ticking::new();
    let mut disk = Memory::new();
    for life in 0..2 {
        // First without a crash, on a copy, to learn how many changes there are.
        let dry = Arc::new(Crashing::on(copy_of(&disk)));
        let mut rehearsal = Life::new(seed, life, dry.clone(), clock.copy(), model.clone(), coverage, false);
        rehearsal.play().await;
        let machine = Arc::new(Crashing::on(disk));
        let mut random = SmallRng::seed_from_u64(seed ^ 0xfeed ^ life);
        machine.crash_at(random.random_range(0..dry.changes().max(1)));
        let mut life = Life::new(seed, life, machine.clone(), clock.clone(), model, coverage, true);
        life.play().await;
        machine.crash();
        model = life.model;
        disk = machine.survivors(seed);
        // The clock of a machine that was off may be a little wrong.
        clock.turn([0, -30_000_000, 3_600_000_000][random.random_range(0..3)]);
        model.check(seed, Arc::new(disk.clone()), &clock, coverage).await;
    }
}

/// A power loss after which nothing was volatile is a copy.
fn copy_of(disk: &Memory) -> Memory {
    Crashing::on(disk.clone()).survivors(0)
}

/// What was acknowledged.
#[derive(Debug, Clone, Default)]
struct Model {
    created: bool,
    tips: BTreeMap<Ref, SnapshotId>,
    trees: BTreeMap<SnapshotId, Tree>,
    /// Commits acknowledged to each branch.
    acknowledged: BTreeMap<Ref, BTreeSet<SnapshotId>>,
    in_flight: InFlight,
}

/// The one call during which the power went.
#[derive(Debug, Clone, Default)]
enum InFlight {
    #[default]
    Nothing,
    /// Of a commit it is not known whether it happened.
    Commit(Pending, Tree),
    /// Of a change of a ref it is not known whether it happened.
    Move(Ref, Option<SnapshotId>),
}

impl Model {
    fn names() -> Vec<Ref> {
        BRANCHES.iter().map(|b| branch(b)).chain(TAGS.iter().map(|t| Ref::tag(name(t)))).collect()
    }

    /// Opens what is left, reads everything, settles what was in flight, and goes on working.
    async fn check(&mut self, seed: u64, disk: Arc<dyn Storage>, clock: &Ticking, coverage: &Seen) {
        if !self.created {
            // What a creation that was cut off has left is completed by creating again.
            match Repository::create_storage(disk.clone(), CreateOptions::from(clock.options())).await {
                Ok(_) => count(&coverage.cut_creations),
                Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "seed {seed}: {e:?}"),
            }
        }
        let repository = clock.open(disk).await;
        if !std::mem::replace(&mut self.created, true) {
            self.learn_root(&repository).await;
        }
        let found = read_everything(&repository, &Self::names()).await;
        self.compare(seed, &repository, &found, coverage).await;
        self.go_on(seed, &repository).await;
    }

    async fn learn_root(&mut self, repository: &Repository) {
        let root = repository.read("main").await.unwrap();
        assert!(read_whole(&root).await.is_empty());
        self.trees.insert(root.id(), Tree::new());
        self.tips.insert(branch("main"), root.id());
    }

    async fn compare(&mut self, seed: u64, repository: &Repository, found: &Found, coverage: &Seen) {
        let in_flight = std::mem::take(&mut self.in_flight);
        for name in Self::names() {
            let (is, was) = (found.tips.get(&name).copied(), self.tips.get(&name).copied());
            if is == was {
                continue;
            }
            // Only the call that nobody answered may have changed anything.
            match &in_flight {
                InFlight::Commit(pending, tree) if Ref::branch(pending.branch.clone()) == name && is == Some(pending.id) => {
                    self.trees.insert(pending.id, tree.clone());
                    self.acknowledged.entry(name.clone()).or_default().insert(pending.id);
                    count(&coverage.landed);
                }
                InFlight::Move(moved, to) if *moved == name && is == *to => {}
                other => panic!("seed {seed}: {name} was {was:?} and is {is:?}; in flight was {other:?}"),
            }
            match is {
                Some(tip) => self.tips.insert(name, tip),
                None => self.tips.remove(&name),
            };
        }
        if let InFlight::Commit(pending, _) = &in_flight {
            let visible = self.tips.get(&Ref::branch(pending.branch.clone())) == Some(&pending.id);
            let truth = if visible { Settlement::Committed } else { Settlement::Lost };
            assert_eq!(repository.settle(&pending.branch, pending.id).await.unwrap(), truth, "seed {seed}");
        }
        for (name, ids) in &self.acknowledged {
            let held = &found.held[name];
            assert!(ids.is_subset(held), "seed {seed}: {name} has lost {:?}", ids.difference(held));
        }
        for (id, tree) in &found.trees {
            assert_eq!(self.trees.get(id), Some(tree), "seed {seed}: {id} is visible");
        }
    }

    /// Nothing has to be repaired first: commits, and the refs that are not there, can be made.
    async fn go_on(&mut self, seed: u64, repository: &Repository) {
        for name in Self::names().into_iter().filter(|_| seed.is_multiple_of(2)) {
            if !self.tips.contains_key(&name) {
                let target = repository.read(&self.tips.values().next().expect("a ref is left").to_string()).await.unwrap();
                match name.kind {
                    firnline::RefKind::Branch => repository.create_branch(&name.name, &target).await.unwrap(),
                    firnline::RefKind::Tag => repository.create_tag(&name.name, &target, "again").await.unwrap(),
                };
                self.tips.insert(name, target.id());
            }
        }
        for (n, text) in BRANCHES.iter().enumerate() {
            let Some(tip) = self.tips.get(&branch(text)).copied() else { continue };
            let changes = [Change::bytes("a/c/0/0", 3, 2_000), Change::bytes("after", 1, 1_500 + n)];
            let mut session = repository.write(text).await.unwrap();
            for change in &changes {
                change.stage(&mut session).await.unwrap();
            }
            let made = session.commit(format!("after the crash {seed}")).await.unwrap();
            let tree = applied(&self.trees[&tip], &changes);
            assert_eq!(read_whole(&made).await, tree, "seed {seed}");
            self.learn(&branch(text), made.id(), tree);
        }
    }

    fn learn(&mut self, branch: &Ref, id: SnapshotId, tree: Tree) {
        self.trees.insert(id, tree);
        self.tips.insert(branch.clone(), id);
        self.acknowledged.entry(branch.clone()).or_default().insert(id);
    }
}

/// A session on both sides.
struct Open {
    engine: WriteSession,
    changes: Vec<Change>,
    base: SnapshotId,
}

/// One life of the machine: two processes work on it in turn until the power goes.
struct Life<'s> {
    random: SmallRng,
    machine: Arc<Crashing>,
    clock: Ticking,
    model: Model,
    processes: Vec<Repository>,
    open: Vec<Open>,
    seed: u64,
    number: u64,
    attempts: u64,
    coverage: &'s Seen,
    /// A rehearsal counts nothing.
    counts: bool,
}

/// The power has gone, so nothing more happens in this life.
struct Dark;

impl<'s> Life<'s> {
    fn new(seed: u64, number: u64, machine: Arc<Crashing>, clock: Ticking, model: Model, coverage: &'s Seen, counts: bool) -> Self {
        let random = SmallRng::seed_from_u64(seed.wrapping_mul(2).wrapping_add(number));
        Self { random, machine, clock, model, processes: Vec::new(), open: Vec::new(), seed, number, attempts: 0, coverage, counts }
    }

    fn count(&self, counter: &AtomicU64) {
        if self.counts {
            count(counter);
        }
    }

    async fn play(&mut self) {
        if self.begin().await.is_err() {
            return;
        }
        for _ in 0..STEPS {
            if self.step().await.is_err() || self.machine.has_crashed() {
                return;
            }
        }
    }

    /// Passes an answer on, unless it is due to the power. `sent` notes what is in flight if the outcome is unknown.
    fn lit<T, E: Into<firnline::Error>>(&mut self, answer: Result<T, E>, sent: InFlight) -> Result<firnline::Result<T>, Dark> {
        match answer.map_err(Into::into) {
            Err(e) if self.machine.has_crashed() => {
                if e.kind() == ErrorKind::OutcomeUnknown {
                    self.model.in_flight = sent;
                } else {
                    assert_eq!(e.kind(), ErrorKind::Unavailable, "seed {}: {e:?}", self.seed);
                }
                Err(Dark)
            }
            answer => Ok(answer),
        }
    }

    async fn begin(&mut self) -> Result<(), Dark> {
        let machine = self.machine.clone() as Arc<dyn Storage>;
        if !self.model.created {
            let made = Repository::create_storage(machine.clone(), CreateOptions::from(self.clock.options())).await;
            let repository = self.lit(made, InFlight::Nothing)?.unwrap();
            self.model.created = true;
            self.model.learn_root(&repository).await;
        }
        for handle in [machine, Arc::new(self.machine.another_handle())] {
            self.processes.push(self.clock.open(handle).await);
        }
        Ok(())
    }

    fn process(&mut self) -> Repository {
        let at = self.random.random_range(0..self.processes.len());
        self.processes[at].clone()
    }

    fn any_branch(&mut self) -> Ref {
        branch(BRANCHES[self.random.random_range(0..BRANCHES.len())])
    }

    async fn step(&mut self) -> Result<(), Dark> {
        match self.random.random_range(0..20) {
            0..=6 => self.open().await,
            7..=14 => self.commit().await,
            15 | 16 => self.make_or_delete_branch().await,
            17 | 18 => self.reset().await,
            _ => self.make_or_delete_tag().await,
        }
    }

    fn change(&mut self) -> Change {
        let key = KEYS[self.random.random_range(0..KEYS.len())];
        match self.random.random_range(0..20) {
            0..=11 => {
                let length = [3, 1_024, 1_025, 5_000, 5_000, 20_000][self.random.random_range(0..6)];
                Change::bytes(key, self.random.random_range(0..3), length)
            }
            12..=15 => {
                let url = FILES[self.random.random_range(0..FILES.len())];
                Change::Set(key, Value::Virtual { url, offset: self.random.random_range(0..3) * 100, length: 50 })
            }
            16..=18 => Change::Delete(key),
            _ => Change::DeletePrefix(PREFIXES[self.random.random_range(0..PREFIXES.len())]),
        }
    }

    async fn open(&mut self) -> Result<(), Dark> {
        let name = self.any_branch();
        if self.open.len() >= 3 || !self.model.tips.contains_key(&name) {
            return Ok(());
        }
        let opened = self.process().write(name.name.as_str()).await;
        let mut engine = self.lit(opened, InFlight::Nothing)?.unwrap();
        let mut changes = Vec::new();
        for _ in 0..self.random.random_range(1..4) {
            let change = self.change();
            let outcome = change.stage(&mut engine).await;
            self.lit(outcome, InFlight::Nothing)?.unwrap();
            changes.push(change);
        }
        // So that the power goes during a call that somebody waits for.
        let flushed = engine.flush().await;
        self.lit(flushed, InFlight::Nothing)?.unwrap();
        let base = engine.base().id();
        let changes = staged(&self.model.trees[&base], changes);
        self.open.push(Open { engine, changes, base });
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Dark> {
        if self.open.is_empty() {
            self.open().await?;
        }
        if self.open.is_empty() {
            return Ok(());
        }
        let at = self.random.random_range(0..self.open.len());
        let Open { engine, changes, base } = self.open.swap_remove(at);
        let name = Ref::branch(engine.branch().clone());
        let tip = self.model.tips.get(&name).copied();
        let tree = tip.map(|tip| applied(&self.model.trees[&tip], &changes)).unwrap_or_default();
        self.attempts += 1;
        let committed = engine.commit(format!("{} {} {}", self.seed, self.number, self.attempts)).await;
        let mut sent = InFlight::Nothing;
        if let Err(e) = &committed {
            assert_eq!(e.pending().is_some(), e.kind() == ErrorKind::OutcomeUnknown, "seed {}: {e:?}", self.seed);
            if self.machine.has_crashed() {
                self.count(&self.coverage.cut_commits);
            }
            if let Some(pending) = e.pending() {
                self.count(&self.coverage.unknown);
                assert_eq!(pending.branch, name.name);
                sent = InFlight::Commit(pending.clone(), tree.clone());
            }
        }
        match self.lit(committed.map_err(|failed| failed.into_error()), sent)? {
            Ok(made) if self.model.trees.contains_key(&made.id()) => {
                assert!(made.id() == base || Some(made.id()) == tip, "seed {}: nothing changed", self.seed);
            }
            Ok(made) => {
                self.count(&self.coverage.acknowledged);
                if Some(base) != tip {
                    self.count(&self.coverage.rebased);
                }
                assert_eq!(log(&made).await.len() as u64, log(&self.read(tip).await).await.len() as u64 + 1, "seed {}", self.seed);
                self.model.learn(&name, made.id(), tree);
            }
            Err(e) if tip.is_none() => assert_eq!(e.kind(), ErrorKind::NotFound, "seed {}: {e:?}", self.seed),
            Err(e) => {
                assert!(e.kind() == ErrorKind::Conflict && Some(base) != tip, "seed {}: {e:?}", self.seed);
                self.count(&self.coverage.conflicts);
            }
        }
        Ok(())
    }

    async fn read(&mut self, id: Option<SnapshotId>) -> firnline::Snapshot {
        self.process().read(&id.expect("a live branch has a tip").to_string()).await.unwrap()
    }

    /// A snapshot on the line of some live ref.
    async fn target(&mut self) -> Option<firnline::Snapshot> {
        let tips: Vec<_> = self.model.tips.values().copied().collect();
        if tips.is_empty() {
            return None;
        }
        let tip = tips[self.random.random_range(0..tips.len())];
        let tip = self.read(Some(tip)).await;
        let line = log(&tip).await;
        let id = line[self.random.random_range(0..line.len())].id;
        Some(self.read(Some(id)).await)
    }

    async fn make_or_delete_branch(&mut self) -> Result<(), Dark> {
        let name = self.any_branch();
        let Some(target) = self.target().await else { return Ok(()) };
        let (answer, to) = if self.model.tips.contains_key(&name) {
            if self.model.tips.len() == 1 {
                return Ok(()); // Something must be left to go on from.
            }
            (self.process().delete_branch(&name.name).await, None)
        } else {
            (self.process().create_branch(&name.name, &target).await, Some(target.id()))
        };
        self.moved(name, answer, to)
    }

    async fn make_or_delete_tag(&mut self) -> Result<(), Dark> {
        let name = Ref::tag(name(TAGS[self.random.random_range(0..TAGS.len())]));
        let Some(target) = self.target().await else { return Ok(()) };
        let (answer, to) = if self.model.tips.contains_key(&name) {
            if self.model.tips.len() == 1 {
                return Ok(());
            }
            (self.process().delete_tag(&name.name).await, None)
        } else {
            (self.process().create_tag(&name.name, &target, "a tag").await, Some(target.id()))
        };
        self.moved(name, answer, to)
    }

    async fn reset(&mut self) -> Result<(), Dark> {
        let name = self.any_branch();
        let Some(target) = self.target().await else { return Ok(()) };
        if !self.model.tips.contains_key(&name) {
            return Ok(());
        }
        let answer = self.process().reset(&name.name, &target).await;
        self.moved(name, answer, Some(target.id()))
    }

    fn moved(&mut self, name: Ref, answer: firnline::Result<firnline::Move>, to: Option<SnapshotId>) -> Result<(), Dark> {
        if answer.is_err() && self.machine.has_crashed() {
            self.count(&self.coverage.cut_moves);
        }
        let done = self.lit(answer, InFlight::Move(name.clone(), to))?.unwrap_or_else(|e| panic!("seed {}: {e:?}", self.seed));
        assert_eq!((done.to, done.from), (to, self.model.tips.get(&name).copied()), "seed {}: the move says what it did", self.seed);
        match to {
            Some(tip) => self.model.tips.insert(name, tip),
            None => self.model.tips.remove(&name),
        };
        Ok(())
    }
}
