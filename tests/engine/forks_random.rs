//! Random sessions and forks against maps: a merge stages exactly what the fork changed, and is refused exactly where both sides changed
//! a key to different values.

use std::collections::{BTreeMap, BTreeSet};

use firnline::{Entry, ErrorDetail, ErrorKind, ForkSession, OpenOptions, Prefix, Repository, WriteSession};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{World, key};

const KEYS: &[&str] =
    &["zarr.json", "a/zarr.json", "a/c/0", "a/c/1", "a/c/10", "a/d", "ab", "b/0", "b/c/0", "b/c/1", "c", "m/9", "m/10", "m/100"];
const PREFIXES: &[&str] = &["", "a/", "a/c/", "b/", "b/c/", "m/", "none/"];

/// What is staged for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Staged {
    Nothing,
    Deleted,
    Set(String),
}

type Edits = BTreeMap<String, Staged>;
type Tree = BTreeMap<String, String>;

/// Staged changes: prefixes deleted first, and then changes of keys.
#[derive(Debug, Clone, Default)]
struct Model {
    deleted: BTreeSet<String>,
    edits: Edits,
}

impl Model {
    /// What is staged for a key, by itself or by a prefix.
    fn at(&self, key: &str) -> Staged {
        let is_covered = || self.deleted.iter().any(|prefix| key.starts_with(prefix.as_str()));
        let otherwise = || if is_covered() { Staged::Deleted } else { Staged::Nothing };
        self.edits.get(key).cloned().unwrap_or_else(otherwise)
    }

    fn delete_prefix(&mut self, prefix: &str) {
        self.edits.retain(|key, _| !key.starts_with(prefix));
        self.deleted.insert(prefix.to_owned());
    }

    fn over(&self, base: &Tree) -> Tree {
        let mut tree: Tree = base.iter().filter(|(key, _)| self.at(key) == Staged::Nothing).map(|(k, v)| (k.clone(), v.clone())).collect();
        for (key, staged) in &self.edits {
            if let Staged::Set(value) = staged {
                tree.insert(key.clone(), value.clone());
            }
        }
        tree
    }

    /// Stages the changes of a fork over these.
    fn stage(&mut self, own: &Self) {
        own.deleted.iter().for_each(|prefix| self.delete_prefix(prefix));
        self.edits.extend(own.edits.clone());
    }

    /// The keys that a fork and this session both changed, if the fork inherited `before`.
    fn conflicts(&self, before: &Self, own: &Self) -> BTreeSet<String> {
        let keys = own.edits.keys().chain(self.edits.keys());
        let is_conflict = |key: &&String| {
            let (now, theirs) = (self.at(key), own.at(key));
            let is_changed = own.edits.contains_key(*key) || (theirs != Staged::Nothing && self.edits.contains_key(*key));
            is_changed && now != theirs && now != before.at(key)
        };
        keys.filter(is_conflict).cloned().collect()
    }
}

/// What a session, or a fork, has staged.
#[derive(Debug, Clone, Default)]
struct Side {
    inherited: Model,
    own: Model,
}

impl Side {
    fn all(&self) -> Model {
        let mut all = self.inherited.clone();
        all.stage(&self.own);
        all
    }
}

/// The changes of a fork on both sides.
struct Forked {
    bytes: Vec<u8>,
    side: Side,
}

struct Play<'w> {
    world: &'w World,
    random: SmallRng,
    base: Tree,
    repositories: Vec<Repository>,
    step: u32,
    conflicts: u32,
    merged: u32,
}

/// How the value of the model is shown by an entry.
fn shown(entry: &Entry) -> String {
    match entry {
        Entry::Inline(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Entry::Chunk { size, .. } => format!("chunk {size}"),
        Entry::Virtual { file, offset, .. } => format!("{file} {offset}"),
    }
}

impl Play<'_> {
    fn repository(&mut self) -> Repository {
        self.repositories[self.random.random_range(0..self.repositories.len())].clone()
    }

    /// Stages something random on both sides.
    async fn edit(&mut self, session: &WriteSession, side: &mut Side) {
        self.step += 1;
        self.world.clock.advance(std::time::Duration::from_secs(1));
        let at = KEYS[self.random.random_range(0..KEYS.len())];
        // Few values, so that two sides often agree.
        let value = self.random.random_range(0..3_u64);
        let op = self.random.random_range(0..16);
        let is_there = side.all().over(&self.base).contains_key(at);
        let own = &mut side.own;
        println!("step {}: {op} {at} {value}", self.step);
        match op {
            0..=5 => {
                let text = format!("value {value}");
                session.set(&key(at), text.clone()).await.unwrap();
                own.edits.insert(at.to_owned(), Staged::Set(text));
            }
            6 | 7 => {
                session.set(&key(at), vec![7; 5000 + usize::try_from(value).unwrap()]).await.unwrap();
                own.edits.insert(at.to_owned(), Staged::Set(format!("chunk {}", 5000 + value)));
            }
            8 | 9 => {
                let url = ["file:///one/a.nc", "file:///two/b.nc"][self.random.random_range(0..2)];
                session.set_virtual(&key(at), url, value..value + 5).await.unwrap();
                let name = url.trim_start_matches("file:///");
                own.edits.insert(at.to_owned(), Staged::Set(format!("file://({name}) {value}")));
            }
            10 | 11 => {
                assert_eq!(session.delete(&key(at)).await.unwrap(), is_there, "{at}");
                if is_there {
                    own.edits.insert(at.to_owned(), Staged::Deleted);
                }
            }
            12 | 13 => {
                let prefix = PREFIXES[self.random.random_range(0..PREFIXES.len())];
                session.delete_prefix(&Prefix::new(prefix).unwrap());
                own.delete_prefix(prefix);
            }
            // So many that they are merged as runs.
            14 => {
                let many = (0..300).map(|n| (format!("m/{n}"), format!("many {value}")));
                for (at, text) in many {
                    session.set(&key(&at), text.clone()).await.unwrap();
                    own.edits.insert(at, Staged::Set(text));
                }
            }
            _ => {
                let nested = self.fork_of(session, side, 1).await;
                self.merge(session, side, &nested).await;
            }
        }
        self.compare(session, side).await;
    }

    async fn compare(&self, session: &WriteSession, side: &Side) {
        let all = session.list(&Prefix::all()).await.unwrap();
        let found: Tree = all.iter().map(|(key, entry)| (key.to_string(), shown(entry))).collect();
        assert_eq!(found, side.all().over(&self.base), "step {}", self.step);
    }

    /// Takes a fork, works in it in another process, and finishes it.
    async fn fork_of(&mut self, session: &WriteSession, from: &Side, depth: u32) -> Forked {
        let bytes = session.fork().await.unwrap();
        let fork: ForkSession = self.repository().resume_fork(&bytes).await.unwrap();
        let mut side = Side { inherited: from.all(), own: Model::default() };
        self.compare(&fork, &side).await;
        for _ in 0..self.random.random_range(1..=if depth == 0 { 6 } else { 2 }) {
            Box::pin(self.edit(&fork, &mut side)).await;
        }
        Forked { bytes: fork.finish().await.unwrap().to_vec(), side }
    }

    /// Merges on both sides: both succeed, or both name the same conflicts.
    async fn merge(&mut self, session: &WriteSession, side: &mut Side, fork: &Forked) {
        let expected = side.all().conflicts(&fork.side.inherited, &fork.side.own);
        match session.merge(&fork.bytes).await {
            Ok(()) => {
                assert_eq!(expected, BTreeSet::new(), "step {}", self.step);
                side.own.stage(&fork.side.own);
                self.merged += 1;
            }
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Conflict, "{e:?}");
                let Some(ErrorDetail::ForkConflicts { named, more: 0 }) = e.detail() else { panic!("{e:?}") };
                let named: BTreeSet<_> = named.iter().cloned().collect();
                let wrong = named.symmetric_difference(&expected).map(|key| {
                    let states = [side.all(), fork.side.inherited.clone(), fork.side.own.clone()].map(|state| state.at(key));
                    format!("{key}: now, inherited, own {states:?}, in the error {}", named.contains(key))
                });
                assert_eq!(wrong.collect::<Vec<_>>(), [""; 0], "step {}: {e}", self.step);
                self.conflicts += 1;
            }
        }
    }

    /// One commit of many forks.
    async fn play(&mut self) {
        let session = self.repository().write("main").await.unwrap();
        let (mut side, mut forks) = (Side::default(), Vec::new());
        for _ in 0..self.random.random_range(2..8) {
            if self.random.random_range(0..3) > 0 {
                self.edit(&session, &mut side).await;
            }
            if self.random.random_range(0..3) > 0 {
                forks.push(self.fork_of(&session, &side, 0).await);
            }
        }
        while !forks.is_empty() {
            let fork = forks.swap_remove(self.random.random_range(0..forks.len()));
            self.merge(&session, &mut side, &fork).await;
            self.compare(&session, &side).await;
            if self.random.random_range(0..3) == 0 {
                // Again, and from then on mostly with other values in the same places.
                self.merge(&session, &mut side, &fork).await;
                self.compare(&session, &side).await;
                self.edit(&session, &mut side).await;
            }
        }
        let expected = side.all().over(&self.base);
        let snapshot = session.commit("together").await.unwrap();
        self.base = expected;
        self.compare(&snapshot.repository().write("main").await.unwrap(), &Side::default()).await;
    }
}

#[tokio::test]
async fn random_forks_match_maps() {
    let histories = crate::limits::count("FIRN_FORK_HISTORIES", 30, 1_000);
    let (mut conflicts, mut merged) = (0, 0);
    for seed in 0..histories {
        let (world, place) = (World::new().await, tempfile::tempdir().unwrap());
        let mut repositories = vec![world.repository.clone()];
        for bytes in [0, 2000, 100_000] {
            let options = OpenOptions::default().clock(world.clock.clone()).staged_bytes(bytes).scratch(place.path()).without_pauses();
            repositories.push(Repository::open_storage(world.storage.clone(), options).await.unwrap());
        }
        let random = SmallRng::seed_from_u64(seed);
        let mut play = Play { world: &world, random, base: Tree::new(), repositories, step: 0, conflicts: 0, merged: 0 };
        println!("seed {seed}");
        for _ in 0..3 {
            play.play().await;
        }
        assert_eq!(world.repository.verify(firnline::VerifyScope::Everything).await.unwrap().findings, [], "seed {seed}");
        conflicts += play.conflicts;
        merged += play.merged;
    }
    println!("{histories} histories: {merged} merged, {conflicts} refused");
    assert!(conflicts > 20 && merged > 20, "{conflicts} conflicts, {merged} merged");
}
