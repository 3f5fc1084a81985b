//! Versions that travel from repository to repository and are committed on in each.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use firnline::{CreateOptions, ErrorKind, HashAlgorithm, NodeId, Repository, Snapshot, SnapshotId, Timestamp, VerifyScope};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::forge::{Claims, forge};
use crate::support::{branch, bytes, car, contents, empty, key};

/// Imports the tip of `from` into `to` as `name`, and commits on it there.
async fn hop(from: &Repository, name: &str, to: &Repository) -> Snapshot {
    let exported = from.read(name).await.unwrap();
    let imported = to.import_car(car(&exported).await.as_slice(), branch(name)).await.unwrap();
    assert_eq!(imported.id, exported.id());
    let session = to.write(name).await.unwrap();
    session.set(&key("hop"), exported.id().to_string().into_bytes()).await.unwrap();
    let next = session.commit("a hop").await.unwrap();
    assert_eq!(next.record().parents, [exported.id()]);
    assert_eq!(to.verify(VerifyScope::Everything).await.unwrap().findings, []);
    next
}

/// A version that was committed on a shallow one has a horizon, and where it is imported it is shallow itself: the horizon moves. This
/// ended as an internal error, "a commit that reaches back to … was about to be published".
#[tokio::test]
async fn a_shallow_version_is_committed_on_and_travels_further() {
    let mut repositories = Vec::new();
    for _ in 0..3 {
        repositories.push(empty(HashAlgorithm::Sha2_256).await);
    }
    let [a, b, c] = repositories.as_slice() else { unreachable!() };
    let session = a.write("main").await.unwrap();
    session.set(&key("a"), bytes(1, 3000)).await.unwrap();
    session.commit("here").await.unwrap();
    a.create_branch(&"x".parse().unwrap(), &a.read("main").await.unwrap()).await.unwrap();
    hop(a, "x", b).await;
    hop(b, "x", b).await;
    hop(b, "x", c).await;
    hop(c, "x", a).await;
    hop(a, "x", b).await;
    hop(a, "x", c).await;
}

/// Of a version: its parent, and what it holds.
type Model = HashMap<SnapshotId, (Option<SnapshotId>, Vec<(String, Vec<u8>)>)>;

struct World {
    random: StdRng,
    repositories: Vec<Repository>,
    /// The branches of each repository with their tips.
    branches: Vec<BTreeMap<String, SnapshotId>>,
    model: Model,
    /// Versions whose claims about the commits before them may be lies, and what they are chosen from.
    forged: HashSet<SnapshotId>,
    histories: BTreeSet<NodeId>,
    times: BTreeSet<Timestamp>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            repositories: Vec::new(),
            branches: Vec::new(),
            model: Model::new(),
            forged: HashSet::new(),
            histories: BTreeSet::new(),
            times: BTreeSet::new(),
        };
        for n in 0..3 {
            // Other roots, so that lines of different repositories share nothing at first.
            let clock = std::sync::Arc::new(crate::support::Ticking::beginning(n * 500_000 + i64::try_from(seed % 7).unwrap()));
            let create = CreateOptions::from(crate::support::options().clock(clock));
            let storage = std::sync::Arc::new(firnline::storage::Memory::new());
            let repository = Repository::create_storage(storage, create).await.unwrap();
            let root = repository.read("main").await.unwrap();
            world.model.insert(root.id(), (None, Vec::new()));
            world.branches.push([("main".to_owned(), root.id())].into());
            world.repositories.push(repository);
        }
        world
    }

    fn pick(&mut self, count: usize) -> usize {
        self.random.random_range(0..count)
    }

    fn branch_of(&mut self, at: usize) -> String {
        let n = self.pick(self.branches[at].len());
        self.branches[at].keys().nth(n).unwrap().clone()
    }

    async fn step(&mut self, forges: bool) {
        let at = self.pick(self.repositories.len());
        let name = self.branch_of(at);
        let kinds = if forges { 14 } else { 10 };
        match self.pick(kinds) {
            0..4 => self.commit(at, &name).await,
            10.. => self.forge(at, &name).await,
            4 => {
                let new = format!("b{}", self.pick(4));
                let target = self.repositories[at].read(&name).await.unwrap();
                if !self.branches[at].contains_key(&new) {
                    self.repositories[at].create_branch(&new.parse().unwrap(), &target).await.unwrap();
                    self.branches[at].insert(new, target.id());
                }
            }
            _ => self.travel(at, &name).await,
        }
        self.check(at).await;
    }

    async fn commit(&mut self, at: usize, name: &str) {
        let session = self.repositories[at].write(name).await.unwrap();
        for _ in 0..=self.pick(2) {
            let name = format!("k/{}", self.pick(6));
            let len = [10, 2000][self.pick(2)];
            session.set(&key(&name), bytes(u8::try_from(self.pick(250)).unwrap(), len)).await.unwrap();
        }
        if self.pick(3) == 0 {
            session.set_virtual(&key("v"), &format!("file:///data/{}.nc", self.pick(3)), 3..9).await.unwrap();
        }
        let before = self.branches[at][name];
        let next = session.commit("work").await.unwrap();
        if next.id() != before {
            self.model.insert(next.id(), (Some(before), contents(&next).await));
            self.branches[at].insert(name.to_owned(), next.id());
            self.histories.insert(next.record().history);
            self.times.extend([next.record().time, next.record().since.unwrap_or(next.record().time)]);
        }
    }

    /// Imports a version anywhere that has the data of a tip, and any history and `since` behind it or its parent. It is refused, or it
    /// is shown without a history, or the claims are true.
    async fn forge(&mut self, at: usize, name: &str) {
        let mut tip = self.repositories[at].read(name).await.unwrap();
        // Rather a tip whose history begins with a shallow version: there is most to lie about.
        for other in self.branches[at].keys() {
            let other = self.repositories[at].read(other).await.unwrap();
            if other.record().since.is_some() {
                tip = other;
            }
        }
        let record = tip.record().clone();
        let Some(before) = record.parents.first().copied() else { return };
        let (parent, time) = if self.pick(2) == 0 { (before, record.time) } else { (tip.id(), record.time.next()) };
        let any = self.pick(self.histories.len().max(1));
        let other = self.histories.iter().nth(any).copied();
        let any = self.pick(self.times.len().max(1));
        let since = match self.pick(6) {
            0..3 => None,
            3 => record.since,
            4 => Some(record.time),
            _ => self.times.iter().nth(any).copied(),
        };
        // Mostly the map that is the likeliest to be here.
        let history = other.filter(|_| self.pick(2) == 0).unwrap_or(record.history);
        let since = since.filter(|since| *since < time);
        let (id, file) = forge(&car(&tip).await, &Claims { parent, history, since, time });
        let held = self.model[&tip.id()].1.clone();
        self.model.entry(id).or_insert((Some(parent), held));
        self.forged.insert(id);
        let to = if self.pick(2) == 0 { at } else { self.pick(self.repositories.len()) };
        let new = format!("b{}", self.pick(4));
        self.import(to, new, id, &file).await;
    }

    async fn import(&mut self, to: usize, new: String, id: SnapshotId, file: &[u8]) {
        match self.repositories[to].import_car(file, branch(&new)).await {
            Ok(imported) => {
                assert_eq!(imported.id, id);
                self.branches[to].insert(new, id);
                self.check(to).await;
            }
            Err(e) => assert!(e.kind() == ErrorKind::Corrupt && self.forged.contains(&id), "{e}"),
        }
    }

    /// Exports the tip or a version a little behind it, and imports it anywhere, also where it came from.
    async fn travel(&mut self, at: usize, name: &str) {
        let back = self.pick(3);
        let there = self.repositories[at].read(&format!("{name}~{back}")).await;
        let exported = match there {
            Ok(snapshot) => snapshot,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
                return;
            }
        };
        let to = self.pick(self.repositories.len());
        let new = format!("b{}", self.pick(4));
        let file = car(&exported).await;
        self.import(to, new, exported.id(), &file).await;
    }

    async fn check(&self, at: usize) {
        let repository = &self.repositories[at];
        let verified = repository.verify(VerifyScope::Everything).await.unwrap();
        assert_eq!(verified.findings, []);
        for (name, tip) in &self.branches[at] {
            let snapshot = repository.read(name).await.unwrap();
            assert_eq!(snapshot.id(), *tip);
            assert_eq!(contents(&snapshot).await, self.model[tip].1);
            // The log is the true line, to its beginning or to where the repository says that it knows no more.
            let log: Vec<_> = snapshot.log().collect().await;
            let mut next = Some(*tip);
            for (n, entry) in log.iter().enumerate() {
                match entry {
                    Ok(entry) => {
                        assert_eq!(Some(entry.id), next);
                        next = self.model[&entry.id].0;
                    }
                    Err(e) => {
                        assert_eq!((e.kind(), n + 1), (ErrorKind::NotFound, log.len()), "{e}");
                        assert!(next.is_some(), "the line had ended");
                        next = None;
                    }
                }
            }
            assert_eq!(next, None, "the log ended before its line");
            // Readers and verification agree on which versions are shallow.
            let is_shallow = log.len() == 2 && log[1].is_err();
            assert_eq!(verified.shallow.contains(tip), is_shallow, "{tip}");
        }
    }
}

#[tokio::test]
async fn versions_travel_in_every_order_and_stay_whole() {
    for seed in 0..crate::shared::count("FIRN_CHAIN_SEEDS", 10, 200) {
        let mut world = World::new(seed).await;
        for _ in 0..30 {
            world.step(false).await;
        }
    }
}

/// A history that nothing proved was shown as the whole line, and damaged for ever what was committed on it.
#[tokio::test]
async fn versions_with_forged_claims_travel_too_and_damage_nothing() {
    for seed in 0..crate::shared::count("FIRN_CHAIN_SEEDS", 10, 200) {
        println!("seed {seed}");
        let mut world = World::new(seed).await;
        for _ in 0..30 {
            world.step(true).await;
        }
    }
}
