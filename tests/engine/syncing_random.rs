//! Repositories that commit, merge, reset, collect and copy from each other at random, against a model of all versions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use firnline::storage::{Memory, Storage};
use firnline::{
    CreateOptions, ErrorKind, GcOptions, ImportSteps, MergeOptions, OnConflict, OpenOptions, Prefix, Ref, RefKind, RefName, RefOutcome,
    Repository, Snapshot, SnapshotId, SyncOptions, SyncRef, VerifyScope,
};
use futures::TryStreamExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::limits::count;
use crate::support::{TestClock, World as Clocked, key};

const BRANCHES: [&str; 3] = ["main", "x", "y"];
const TAGS: [&str; 2] = ["one", "two"];

type Content = BTreeMap<String, Vec<u8>>;

/// A version, wherever it is.
#[derive(Debug, Clone)]
struct Version {
    content: Content,
    /// It and everything before it.
    behind: BTreeSet<SnapshotId>,
}

struct Play {
    random: StdRng,
    clock: Arc<TestClock>,
    stores: Vec<Arc<dyn Storage>>,
    repositories: Vec<Repository>,
    /// What each shows.
    refs: Vec<BTreeMap<Ref, SnapshotId>>,
    versions: HashMap<SnapshotId, Version>,
    /// The versions with which the repositories begin.
    blank: BTreeSet<SnapshotId>,
    seen: BTreeMap<&'static str, u64>,
}

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

impl Play {
    async fn new(seed: u64) -> Self {
        let clock = Clocked::new().await.clock;
        let mut play = Self {
            random: StdRng::seed_from_u64(seed),
            clock,
            stores: Vec::new(),
            repositories: Vec::new(),
            refs: Vec::new(),
            versions: HashMap::new(),
            blank: BTreeSet::new(),
            seen: BTreeMap::new(),
        };
        for _ in 0..3 {
            play.tick();
            let mut options = OpenOptions::default().clock(play.clock.clone()).without_pauses();
            options.cache_bytes = if play.random.random_bool(0.5) { 0 } else { 64 << 20 };
            let memory: Arc<dyn Storage> = Arc::new(Memory::new());
            let made = Repository::create_storage(memory.clone(), CreateOptions::from(options)).await.unwrap();
            play.stores.push(memory);
            let first = made.read("main").await.unwrap();
            play.blank.insert(first.id());
            play.learn(&first, Content::new());
            play.refs.push(BTreeMap::from([(Ref::branch(name("main")), first.id())]));
            play.repositories.push(made);
        }
        play
    }

    fn tick(&self) {
        self.clock.advance(Duration::from_secs(1));
    }

    fn learn(&mut self, snapshot: &Snapshot, content: Content) {
        let parents = snapshot.record().parents.iter();
        let behind = parents.flat_map(|parent| self.versions[parent].behind.clone()).chain([snapshot.id()]).collect();
        self.versions.insert(snapshot.id(), Version { content, behind });
    }

    fn any(&mut self) -> usize {
        self.random.random_range(0..self.repositories.len())
    }

    /// A branch that exists.
    fn branch(&mut self, at: usize) -> RefName {
        let all: Vec<_> = self.refs[at].keys().filter(|one| one.kind == RefKind::Branch).map(|one| one.name.clone()).collect();
        all.choose(&mut self.random).unwrap().clone()
    }

    async fn step(&mut self) {
        self.tick();
        match self.random.random_range(0..14) {
            0..4 => self.commit().await,
            4 => self.merge().await,
            5 => self.make().await,
            6 => self.reset().await,
            7 => self.collect().await,
            _ => self.copy().await,
        }
    }

    async fn commit(&mut self) {
        let at = self.any();
        let branch = self.branch(at);
        let session = self.repositories[at].write(branch.as_str()).await.unwrap();
        let mut content = self.versions[&session.base().id()].content.clone();
        for _ in 0..self.random.random_range(1..6) {
            let text = format!("{}/{}", ["a", "b", "c/d"].choose(&mut self.random).unwrap(), self.random.random_range(0..40));
            if self.random.random_bool(0.2) {
                session.delete(&key(&text)).await.unwrap();
                content.remove(&text);
            } else {
                let len = *[3, 2_000, 2_000, 1_100_000].choose(&mut self.random).unwrap();
                let len = if len > 1 << 20 && self.random.random_bool(0.8) { 2_000 } else { len };
                let value = vec![self.random.random_range(0..60); len];
                session.set(&key(&text), value.clone()).await.unwrap();
                content.insert(text, value);
            }
        }
        let made = session.commit("a commit").await.unwrap();
        self.learn(&made, content);
        self.refs[at].insert(Ref::branch(branch), made.id());
    }

    async fn merge(&mut self) {
        let at = self.any();
        let (ours, theirs) = (self.branch(at), self.branch(at));
        let their_tip = self.refs[at][&Ref::branch(theirs)];
        let their = self.repositories[at].read(&their_tip.to_string()).await.unwrap();
        let options = MergeOptions::default().on_conflict(OnConflict::Ours);
        let Ok(staged) = self.repositories[at].merge(&ours, &their, options).await else { return };
        let Ok(made) = staged.commit().await else { return };
        let snapshot = made.snapshot;
        let mut content = Content::new();
        let keys: Vec<_> = snapshot.list(&Prefix::all()).try_collect().await.unwrap();
        for (key, _) in keys {
            content.insert(key.to_string(), snapshot.get(&key).await.unwrap().unwrap().to_vec());
        }
        if !self.versions.contains_key(&snapshot.id()) {
            self.learn(&snapshot, content);
        }
        self.refs[at].insert(Ref::branch(ours), snapshot.id());
        *self.seen.entry("merged").or_default() += 1;
    }

    /// Makes or deletes a branch or a tag.
    async fn make(&mut self) {
        let at = self.any();
        let from = self.branch(at);
        let tip = self.repositories[at].read(&format!("branch:{from}")).await.unwrap();
        let is_tag = self.random.random_bool(0.5);
        let one = if is_tag {
            Ref::tag(name(TAGS.choose(&mut self.random).unwrap()))
        } else {
            Ref::branch(name(BRANCHES[1..].choose(&mut self.random).unwrap()))
        };
        let repository = &self.repositories[at];
        match (self.refs[at].remove(&one), is_tag) {
            (Some(_), true) => drop(repository.delete_tag(&one.name).await.unwrap()),
            (Some(_), false) => drop(repository.delete_branch(&one.name).await.unwrap()),
            (None, true) => drop(repository.create_tag(&one.name, &tip, "").await.unwrap()),
            (None, false) => drop(repository.create_branch(&one.name, &tip).await.unwrap()),
        }
        let shows = repository.ref_info(&one).await.ok().and_then(|info| info.tip);
        self.refs[at].extend(shows.map(|tip| (one, tip)));
    }

    async fn reset(&mut self) {
        let at = self.any();
        let branch = self.branch(at);
        let tip = self.repositories[at].read(&format!("branch:{branch}")).await.unwrap();
        let Some(parent) = tip.record().parents.choose(&mut self.random).copied() else { return };
        let target = self.repositories[at].read(&parent.to_string()).await.unwrap();
        self.repositories[at].reset(&branch, &target).await.unwrap();
        self.refs[at].insert(Ref::branch(branch), parent);
    }

    async fn collect(&mut self) {
        let at = self.any();
        // By the clock of the machine, by which the store dates what it holds.
        let repository = Repository::open_storage(self.stores[at].clone(), OpenOptions::default().without_pauses()).await.unwrap();
        let report = repository.gc(&GcOptions::default().grace(Duration::ZERO)).await.unwrap();
        *self.seen.entry("removed").or_default() += report.removed.values().map(|counts| counts.objects).sum::<u64>();
    }

    /// What becomes of a ref that shows `found`; `None` if it is refused.
    fn expected(&self, one: &Ref, tip: SnapshotId, found: Option<SnapshotId>, force: bool) -> Option<RefOutcome> {
        match found {
            None => Some(RefOutcome::Created),
            Some(found) if found == tip => Some(RefOutcome::Unchanged),
            Some(_) if force => Some(RefOutcome::Moved),
            Some(_) if one.kind == RefKind::Tag => None,
            Some(found) if self.blank.contains(&found) || self.versions[&tip].behind.contains(&found) => Some(RefOutcome::Moved),
            Some(found) if self.versions[&found].behind.contains(&tip) => Some(RefOutcome::Ahead),
            Some(_) => None,
        }
    }

    async fn copy(&mut self) {
        let (from, to) = (self.any(), self.any());
        let mut options = SyncOptions::default().steps(ImportSteps::default().keys(self.random.random_range(1..20)));
        options.force = self.random.random_bool(0.2);
        if self.random.random_bool(0.6) {
            let all: Vec<_> = self.refs[from].keys().cloned().collect();
            let one = all.choose(&mut self.random).unwrap().clone();
            options = options.with(SyncRef::same(one));
        }
        let named: Vec<Ref> = options.refs.iter().map(|one| one.source.clone()).collect();
        let named = if named.is_empty() { self.refs[from].keys().cloned().collect() } else { named };
        let expected: Vec<_> = named
            .iter()
            .map(|one| {
                let (tip, found) = (self.refs[from][one], self.refs[to].get(one).copied());
                (one.clone(), tip, self.expected(one, tip, found, options.force))
            })
            .collect();
        let (source, target) = (&self.repositories[from], &self.repositories[to]);
        let done = if self.random.random_bool(0.5) { source.push(target, &options).await } else { target.pull(source, &options).await };
        match done {
            Ok(report) => {
                for (one, tip, outcome) in expected {
                    let outcome = outcome.unwrap_or_else(|| panic!("{one} was to be refused: {report:?}"));
                    let told = report.refs.iter().find(|told| told.target == one).unwrap();
                    assert_eq!((told.outcome, told.to), (outcome, tip), "{one}");
                    *self.seen.entry(outcome.word()).or_default() += 1;
                    if outcome != RefOutcome::Ahead {
                        self.refs[to].insert(one, tip);
                    }
                }
            }
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Conflict, "{e:?}");
                assert!(expected.iter().any(|(_, _, outcome)| outcome.is_none()), "{e:?}");
                *self.seen.entry("refused").or_default() += 1;
            }
        }
    }

    async fn check(&self) {
        for (repository, refs) in self.repositories.iter().zip(&self.refs) {
            assert_eq!(repository.verify(VerifyScope::Everything).await.unwrap().findings, []);
            for (one, tip) in refs {
                assert_eq!(repository.ref_info(one).await.unwrap().tip, Some(*tip), "{one}");
                let snapshot = repository.read(&tip.to_string()).await.unwrap();
                let entries: Vec<_> = snapshot.list(&Prefix::all()).try_collect().await.unwrap();
                let mut content = Content::new();
                for (key, _) in entries {
                    content.insert(key.to_string(), snapshot.get(&key).await.unwrap().unwrap().to_vec());
                }
                assert!(content == self.versions[tip].content, "{one}");
                let log: Vec<_> = snapshot.log().try_collect().await.unwrap();
                assert!(log.iter().all(|entry| self.versions[tip].behind.contains(&entry.id)), "{one}");
            }
            let (branches, tags) = (repository.branches().await.unwrap(), repository.tags().await.unwrap());
            assert_eq!(branches.len() + tags.len(), refs.len(), "no branch of saves is left");
        }
    }
}

#[tokio::test]
async fn repositories_that_copy_from_each_other_agree_with_the_model() {
    let mut seen = BTreeMap::<&str, u64>::new();
    for seed in 0..count("FIRN_SYNC_PLAYS", 40, 2_000) {
        let mut play = Play::new(seed).await;
        for _ in 0..30 {
            play.step().await;
        }
        play.check().await;
        for (what, times) in play.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    println!("{seen:?}");
    for what in ["created", "moved", "unchanged", "ahead", "refused", "merged"] {
        assert!(seen.get(what).is_some_and(|times| *times >= 5), "{seen:?}");
    }
}
