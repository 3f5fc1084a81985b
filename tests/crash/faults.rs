//! One fixed scenario, and something goes wrong at every single request of it: the request never arrives, its answer is
//! lost, the client sends it twice, it arrives late; by itself, or as the beginning of an outage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use firnline::storage::fault::{Call, Fault, Faulty, Operation, Rates, seeded};
use firnline::storage::{Memory, Storage};
use firnline::{
    CreateOptions, ErrorKind, Move, OpenOptions, Pending, Prefix, Ref, Repository, Settlement, Snapshot, SnapshotId, WriteSession,
};
use tokio::sync::Semaphore;

use super::world::{Change, Ticking, Tree, applied, branch, key, log, moves, name, read_everything, read_whole, settle_down};

/// What happens to the chosen request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Before,
    After,
    Twice,
    Late,
}

/// When a request that is late arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrives {
    WithTheStore,
    AfterSettling,
    AtTheEnd,
}

/// What a caller does who does not know what became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Settle,
    CommitAgain,
}

#[derive(Debug, Clone, Copy)]
struct Script {
    /// The number of the request.
    at: u64,
    first: First,
    /// Whether the store is gone from then on, until the caller is told of an error.
    outage: bool,
    arrives: Arrives,
    then: Then,
}

/// The state of the network.
#[derive(Debug)]
struct Weather {
    script: Script,
    fired: AtomicBool,
    out: AtomicBool,
    gate: Arc<Semaphore>,
}

impl Weather {
    fn new(script: Script) -> Arc<Self> {
        Arc::new(Self { script, fired: AtomicBool::new(false), out: AtomicBool::new(false), gate: Arc::new(Semaphore::new(0)) })
    }

    fn over(self: &Arc<Self>, memory: &Memory) -> Arc<dyn Storage> {
        let weather = self.clone();
        Arc::new(Faulty::new(Arc::new(memory.clone()), move |call| weather.fault(call)))
    }

    fn fault(&self, call: &Call<'_>) -> Fault {
        if call.number != self.script.at {
            return if self.out.load(Ordering::Relaxed) { Fault::Before } else { Fault::None };
        }
        self.fired.store(true, Ordering::Relaxed);
        self.out.store(self.script.outage, Ordering::Relaxed);
        let gate = self.gate.clone();
        match self.script.first {
            First::Before => Fault::Before,
            First::After => Fault::After,
            First::Twice => Fault::Twice,
            First::Late => Fault::Late(Box::pin(async move { drop(gate.acquire().await) })),
        }
    }

    /// The store is back.
    async fn heal(&self) {
        self.out.store(false, Ordering::Relaxed);
        self.arrive(Arrives::WithTheStore).await;
    }

    async fn arrive(&self, now: Arrives) {
        if now == self.script.arrives || now == Arrives::AtTheEnd {
            self.gate.add_permits(1);
            settle_down().await;
        }
    }
}

/// Every script for one request.
fn scripts(at: u64) -> Vec<Script> {
    let single = |first| Script { at, first, outage: false, arrives: Arrives::AtTheEnd, then: Then::Settle };
    let mut all: Vec<_> = [First::Before, First::After, First::Twice, First::Late].map(single).to_vec();
    for then in [Then::Settle, Then::CommitAgain] {
        let outage = |first, arrives| Script { at, first, outage: true, arrives, then };
        all.extend([First::Before, First::After].map(|first| outage(first, Arrives::AtTheEnd)));
        all.extend([Arrives::WithTheStore, Arrives::AfterSettling, Arrives::AtTheEnd].map(|arrives| outage(First::Late, arrives)));
    }
    all
}

/// How often outcomes were settled each way.
#[derive(Debug, Default)]
struct Seen {
    runs: AtomicU64,
    given_back: AtomicU64,
    committed: AtomicU64,
    lost: AtomicU64,
    again: AtomicU64,
    moves_unknown: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn whatever_goes_wrong_at_any_request_nothing_is_lost_or_done_twice() {
    let (next, seen) = (AtomicU64::new(0), Seen::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let mut fired = false;
                    for script in scripts(at) {
                        fired |= runtime.block_on(Caller::play(script, &seen));
                    }
                    if !fired {
                        break;
                    }
                    assert!(at < 2_000, "the scenario does not end");
                }
            });
        }
    });
    println!("{} requests: {seen:?}", next.load(Ordering::Relaxed));
    let Seen { runs, given_back, committed, lost, again, moves_unknown } = &seen;
    for counter in [runs, given_back, committed, lost, again, moves_unknown] {
        assert!(counter.load(Ordering::Relaxed) >= 5, "a case that the test is about was rare: {seen:?}");
    }
}

/// A caller who does as the documentation says, and what it believes to be in the repository.
struct Caller<'s> {
    script: Script,
    weather: Arc<Weather>,
    /// Through the weather.
    repository: Repository,
    /// Past it.
    clear: Repository,
    trees: BTreeMap<SnapshotId, Tree>,
    tips: BTreeMap<Ref, SnapshotId>,
    moves: BTreeMap<Ref, usize>,
    seen: &'s Seen,
}

impl<'s> Caller<'s> {
    /// Plays the scenario; says whether there was a request for something to go wrong at.
    async fn play(script: Script, seen: &'s Seen) -> bool {
        let (memory, clock) = (Memory::new(), Ticking::new());
        let shared = Arc::new(memory.clone());
        let clear = Repository::create_storage(shared, CreateOptions::from(clock.options())).await.unwrap();
        let root = clear.read("main").await.unwrap().id();
        let weather = Weather::new(script);
        let through = weather.over(&memory);
        let repository = loop {
            match Repository::open_storage(through.clone(), clock.options()).await {
                Ok(repository) => break repository,
                Err(e) => assert_eq!(e.kind(), ErrorKind::Unavailable, "{script:?}: {e:?}"),
            }
            weather.heal().await;
        };
        let trees = BTreeMap::from([(root, Tree::new())]);
        let tips = BTreeMap::from([(branch("main"), root)]);
        let moves = BTreeMap::from([(branch("main"), 1)]);
        let mut caller = Self { script, weather, repository, clear, trees, tips, moves, seen };
        caller.scenario().await;
        caller.weather.arrive(Arrives::AtTheEnd).await;
        caller.check(&clock, &memory).await;
        count(&seen.runs);
        caller.weather.fired.load(Ordering::Relaxed)
    }

    async fn scenario(&mut self) {
        let point = |key, url| Change::Set(key, super::world::Value::Virtual { url, offset: 100, length: 50 });
        let one = [Change::bytes("zarr.json", 1, 30), Change::bytes("a/c/0", 1, 5_000), point("v/0", "file:///data/one.nc")];
        self.commit("main", &one, None).await;
        let main = self.clear.read("main").await.unwrap();
        self.create(&branch("b/one"), &main).await;
        let two = [Change::bytes("a/c/1", 2, 6_000), Change::bytes("a/c/2", 2, 7_000), Change::Delete("v/0")];
        self.commit("main", &two, Some(Change::bytes("other", 9, 2_000))).await;
        self.create(&Ref::tag(name("v1")), &main).await;
        self.commit("b/one", &[Change::DeletePrefix("a/"), Change::bytes("a/d", 1, 5_000)], None).await;
        let target = self.clear.read("main~1").await.unwrap();
        self.change(&branch("main"), Some(target.id()), async |r| r.reset(&name("main"), &target).await).await;
        self.change(&Ref::tag(name("v1")), None, async |r| r.delete_tag(&name("v1")).await).await;
        self.change(&branch("b/one"), None, async |r| r.delete_branch(&name("b/one")).await).await;
        self.create(&branch("b/one"), &main).await;
        self.commit("b/one", &[Change::bytes("last", 7, 1_500)], None).await;
    }

    /// Calls until it works. What failed for want of the store has changed nothing.
    async fn until_answered<T>(&self, call: impl AsyncFn() -> firnline::Result<T>) -> T {
        loop {
            match call().await {
                Ok(done) => return done,
                Err(e) => assert_eq!(e.kind(), ErrorKind::Unavailable, "{:?}: {e:?}", self.script),
            }
            self.weather.heal().await;
        }
    }

    async fn stage(&self, session: &mut WriteSession, change: &Change) {
        while let Err(e) = change.stage(session).await {
            assert_eq!(e.kind(), ErrorKind::Unavailable, "{:?}: {e:?}", self.script);
            self.weather.heal().await;
        }
    }

    async fn commit(&mut self, to: &str, changes: &[Change], meanwhile: Option<Change>) {
        let mut session = self.until_answered(async || self.repository.write(to).await).await;
        for change in changes {
            self.stage(&mut session, change).await;
        }
        if let Some(change) = meanwhile {
            let mut other = self.clear.write(to).await.unwrap();
            change.stage(&mut other).await.unwrap();
            let made = other.commit("another writer").await.unwrap();
            self.learn(to, made.id(), &[change]);
        }
        let before = self.clear.read(&format!("branch:{to}")).await.unwrap();
        let made = self.until_committed(session, to, &before).await;
        self.learn(to, made.id(), changes);
        let visible = self.clear.read(&format!("branch:{to}")).await.unwrap();
        assert_eq!(visible.id(), made.id(), "{:?}: what was acknowledged is visible", self.script);
        assert_eq!(log(&visible).await.len(), log(&before).await.len() + 1, "{:?}: committed once", self.script);
        assert_eq!(read_whole(&visible).await, self.trees[&made.id()], "{:?}", self.script);
    }

    fn learn(&mut self, to: &str, id: SnapshotId, changes: &[Change]) {
        let tree = applied(&self.trees[&self.tips[&branch(to)]], changes);
        self.trees.insert(id, tree);
        self.tips.insert(branch(to), id);
    }

    async fn until_committed(&self, mut session: WriteSession, to: &str, before: &Snapshot) -> Snapshot {
        for _ in 0..4 {
            let failed = match session.commit(format!("to {to}")).await {
                Ok(made) => return made,
                Err(failed) => failed,
            };
            let pending = failed.pending().cloned();
            assert_eq!(pending.is_some(), failed.kind() == ErrorKind::OutcomeUnknown, "{:?}: {failed:?}", self.script);
            if let Some(pending) = pending {
                assert!(self.script.outage, "{:?}: one lost request is settled at once: {failed:?}", self.script);
                if let Some(made) = self.unknown(pending, before).await {
                    return made;
                }
            } else {
                assert_eq!(failed.kind(), ErrorKind::Unavailable, "{:?}: {failed:?}", self.script);
                count(&self.seen.given_back);
                self.weather.heal().await;
                let visible = self.clear.read(&format!("branch:{to}")).await.unwrap();
                assert_eq!(visible.id(), before.id(), "{:?}: what failed is not visible", self.script);
            }
            session = failed.into_session();
            assert!(!session.is_unchanged(), "{:?}: staged work is intact", self.script);
        }
        panic!("{:?}: one fault must not fail four commits", self.script);
    }

    /// The commit, if it happened; `None` if it is to be tried again.
    async fn unknown(&self, pending: Pending, before: &Snapshot) -> Option<Snapshot> {
        self.weather.heal().await;
        if self.script.then == Then::CommitAgain {
            count(&self.seen.again);
            return None;
        }
        let truth = self.repository.settle(&pending.branch, pending.id).await.unwrap();
        self.weather.arrive(Arrives::AfterSettling).await;
        let visible = self.clear.read(&format!("branch:{}", pending.branch)).await.unwrap();
        match truth {
            Settlement::Committed => {
                count(&self.seen.committed);
                assert_eq!(visible.id(), pending.id, "{:?}: settled as committed", self.script);
                Some(visible)
            }
            Settlement::Lost => {
                count(&self.seen.lost);
                assert_eq!(visible.id(), before.id(), "{:?}: settled as lost, once and for all", self.script);
                None
            }
        }
    }

    async fn create(&mut self, name: &Ref, target: &Snapshot) {
        // Targets belong to the repository that they were read from.
        let target = self.until_answered(async || self.repository.read(&target.id().to_string()).await).await;
        let create = async |r: &Repository| match name.kind {
            firnline::RefKind::Branch => r.create_branch(&name.name, &target).await,
            firnline::RefKind::Tag => r.create_tag(&name.name, &target, "a tag").await,
        };
        self.change(name, Some(target.id()), create).await;
    }

    /// Changes a ref, looking for itself what became of it when nobody can say.
    async fn change(&mut self, name: &Ref, to: Option<SnapshotId>, call: impl AsyncFn(&Repository) -> firnline::Result<Move>) {
        let was = self.tips.get(name).copied();
        for attempt in 0.. {
            assert!(attempt < 4, "{:?}: one fault must not fail four calls", self.script);
            let answer = call(&self.repository).await;
            if answer.is_err() {
                self.weather.heal().await;
            }
            let is = self.tip(name).await;
            match answer {
                Ok(done) => {
                    assert_eq!((done.from, done.to, is), (was, to, to), "{:?}: {name}", self.script);
                    break;
                }
                Err(e) if e.kind() == ErrorKind::OutcomeUnknown => {
                    assert!(self.script.outage && (is == was || is == to), "{:?}: {name}: {e:?}", self.script);
                    count(&self.seen.moves_unknown);
                    if is == to {
                        break;
                    }
                }
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::Unavailable, "{:?}: {name}: {e:?}", self.script);
                    assert_eq!(is, was, "{:?}: {name}: what failed has not happened", self.script);
                }
            }
        }
        *self.moves.entry(name.clone()).or_default() += 1;
        match to {
            Some(tip) => self.tips.insert(name.clone(), tip),
            None => self.tips.remove(name),
        };
    }

    async fn tip(&self, name: &Ref) -> Option<SnapshotId> {
        let refs = match name.kind {
            firnline::RefKind::Branch => self.clear.branches().await.unwrap(),
            firnline::RefKind::Tag => self.clear.tags().await.unwrap(),
        };
        refs.into_iter().find(|info| info.name == name.name).and_then(|info| info.tip)
    }

    /// Reads everything anew, past every cache.
    async fn check(&self, clock: &Ticking, memory: &Memory) {
        let fresh = clock.open(Arc::new(memory.clone())).await;
        let names: Vec<_> = self.moves.keys().cloned().collect();
        let found = read_everything(&fresh, &names).await;
        assert_eq!(found.tips, self.tips, "{:?}", self.script);
        assert_eq!(found.trees, self.trees, "{:?}: each commit happened once, and no other is visible", self.script);
        for (name, count) in &self.moves {
            assert_eq!(moves(&fresh, name).await.len(), *count, "{:?}: moves of {name}", self.script);
        }
        let mut session = fresh.write("main").await.unwrap();
        Change::bytes("after", 1, 2_000).stage(&mut session).await.unwrap();
        session.commit("after").await.unwrap();
    }
}

/// Making a repository, with something going wrong at every request.
#[tokio::test]
async fn a_repository_is_made_whatever_goes_wrong() {
    for at in 0.. {
        let mut fired = false;
        for script in scripts(at) {
            let (memory, clock, weather) = (Memory::new(), Ticking::new(), Weather::new(script));
            let through = weather.over(&memory);
            let mut unknown = false;
            for attempt in 0.. {
                assert!(attempt < 4, "{script:?}");
                match Repository::create_storage(through.clone(), CreateOptions::from(clock.options())).await {
                    Ok(_) => break,
                    Err(e) if e.kind() == ErrorKind::Conflict && unknown => break,
                    Err(e) => {
                        assert!(matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::OutcomeUnknown), "{script:?}: {e:?}");
                        unknown |= e.kind() == ErrorKind::OutcomeUnknown;
                    }
                }
                weather.heal().await;
            }
            weather.arrive(Arrives::AtTheEnd).await;
            let repository = clock.open(Arc::new(memory)).await;
            assert_eq!(repository.branches().await.unwrap().len(), 1, "{script:?}");
            assert_eq!(repository.moves(&branch("main")).await.unwrap().len(), 1, "{script:?}: created once");
            let session = repository.write("main").await.unwrap();
            session.set(&key("a"), "b").await.unwrap();
            session.commit("works").await.unwrap();
            fired |= weather.fired.load(Ordering::Relaxed);
        }
        if !fired {
            assert!(at > 8, "only {at} requests");
            return;
        }
    }
}

/// Chunks are uploaded while they are staged. One that does not arrive must be sent again before a commit can name it.
#[tokio::test]
async fn a_chunk_that_did_not_arrive_is_sent_again() {
    let (memory, clock) = (Memory::new(), Ticking::new());
    let clear = Repository::create_storage(Arc::new(memory.clone()), CreateOptions::from(clock.options())).await.unwrap();
    // Every seventh upload of a chunk fails, for the first hundred.
    let (uploads, lost) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
    let counted = lost.clone();
    let storage = Faulty::new(Arc::new(memory), move |call| {
        let is_chunk = call.name.starts_with("chunks/");
        let number = if is_chunk { uploads.fetch_add(1, Ordering::Relaxed) } else { 0 };
        if is_chunk && number % 7 == 3 && number < 100 {
            counted.fetch_add(1, Ordering::Relaxed);
            return Fault::Before;
        }
        Fault::None
    });
    let repository = clock.open(Arc::new(storage)).await;
    let mut session = repository.write("main").await.unwrap();
    let value = |n: u32| n.to_le_bytes().repeat(500);
    let mut refused = 0;
    for n in 0..200_u32 {
        while let Err(e) = session.set(&key(&format!("c/{n}")), value(n)).await {
            assert_eq!(e.kind(), ErrorKind::Unavailable);
            refused += 1;
            assert!(refused < 100, "the faults must end");
        }
    }
    let made = loop {
        match session.commit("many chunks").await {
            Ok(made) => break made,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Unavailable);
                session = e.into_session();
                refused += 1;
                assert!(refused < 100, "the faults must end");
                // What is staged can be read, whether it has arrived or not.
                assert_eq!(session.list(&Prefix::all()).await.unwrap().len(), 200);
            }
        }
    };
    assert!(lost.load(Ordering::Relaxed) > 5, "chunks did not arrive");
    let seen = clear.read(&made.id().to_string()).await.unwrap();
    for n in 0..200_u32 {
        let found = seen.get(&key(&format!("c/{n}"))).await.unwrap_or_else(|e| panic!("chunk {n}: {e:?}"));
        assert_eq!(found.unwrap(), value(n));
    }
}

/// Two writers in a storm: everything fails now and then, and what they were told is still the truth.
#[test]
fn two_writers_in_a_storm_are_told_the_truth() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for seed in 0..150 {
        runtime.block_on(storm(seed));
    }
}

async fn storm(seed: u64) {
    let (memory, clock) = (Memory::new(), Ticking::new());
    let clear = Repository::create_storage(Arc::new(memory.clone()), CreateOptions::from(clock.options())).await.unwrap();
    let writer = |n: u64| {
        let (memory, clock) = (memory.clone(), clock.clone());
        async move {
            let rates = Rates { before: 60, after: 60, twice: 60, wait: 200 };
            let storage: Arc<dyn Storage> = Arc::new(Faulty::new(Arc::new(memory), seeded(seed * 2 + n, rates)));
            let mut committed = Vec::new();
            let mut at = 0;
            for attempt in 0..400 {
                assert!(attempt < 399, "seed {seed}: writer {n} makes no progress");
                if at == 6 {
                    break;
                }
                let Ok(repository) = Repository::open_storage(storage.clone(), clock.options()).await else { continue };
                let Ok(session) = repository.write("main").await else { continue };
                let value = vec![u8::try_from(n * 100 + at).unwrap(); 2_000];
                if session.set(&key(&format!("{n}/{at}")), value).await.is_err() {
                    continue;
                }
                match session.commit(format!("{n} {at}")).await {
                    Ok(made) => committed.push(made.id()),
                    Err(e) => {
                        let Some(pending) = e.pending() else {
                            assert_eq!(e.kind(), ErrorKind::Unavailable, "seed {seed}: {e:?}");
                            continue;
                        };
                        match settled(&repository, pending).await {
                            Settlement::Committed => committed.push(pending.id),
                            Settlement::Lost => continue,
                        }
                    }
                }
                at += 1;
            }
            committed
        }
    };
    let (one, two) = futures::join!(writer(0), writer(1));
    settle_down().await;
    let main = clear.read("main").await.unwrap();
    let mut logged: Vec<_> = log(&main).await.into_iter().map(|entry| entry.id).collect();
    logged.pop(); // the empty repository
    let mut acknowledged = [one, two].concat();
    logged.sort();
    acknowledged.sort();
    assert_eq!(logged, acknowledged, "seed {seed}: exactly what was acknowledged happened");
    assert_eq!(read_whole(&main).await.len(), 12, "seed {seed}");
}

async fn settled(repository: &Repository, pending: &Pending) -> Settlement {
    for _ in 0..100 {
        if let Ok(truth) = repository.settle(&pending.branch, pending.id).await {
            return truth;
        }
    }
    panic!("a storm must not last for ever");
}

/// A writer that lost a race looks again after its pause, not before it: else it would lose to every faster one for ever.
#[tokio::test]
async fn a_writer_is_not_starved_by_faster_ones() {
    let (memory, clock) = (Memory::new(), Ticking::new());
    let fast = Repository::create_storage(Arc::new(memory.clone()), CreateOptions::from(clock.options())).await.unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let storage = Faulty::new(Arc::new(memory), move |call| {
        let is_first = call.operation == Operation::Replace && count.fetch_add(1, Ordering::Relaxed) == 0;
        // Long enough for the others to be first this once.
        if is_first { Fault::Wait(Box::pin(tokio::time::sleep(Duration::from_millis(50)))) } else { Fault::None }
    });
    // With the pauses of an ordinary writer.
    let options = OpenOptions::default().clock(Arc::new(clock.clone()));
    let slow = Repository::open_storage(Arc::new(storage), options).await.unwrap();
    let done = AtomicBool::new(false);
    let others = async {
        for n in 0..2_000 {
            if done.load(Ordering::Relaxed) {
                return n;
            }
            let session = fast.write("main").await.unwrap();
            session.set(&key(&format!("fast/{n}")), "x").await.unwrap();
            session.commit("fast").await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        2_000
    };
    let ours = async {
        let session = slow.write("main").await.unwrap();
        session.set(&key("slow"), "y").await.unwrap();
        let answer = session.commit("slow").await;
        done.store(true, Ordering::Relaxed);
        answer
    };
    let (commits, answer) = futures::join!(others, ours);
    answer.unwrap();
    let attempts = sent.load(Ordering::Relaxed);
    assert!((2..=20).contains(&attempts) && commits > 2, "{attempts} attempts against {commits} commits");
}
