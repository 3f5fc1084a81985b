//! What processes do: writers, readers, collectors, verifiers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::network::Line;
use super::operations::{Answer, Operated, Operating, Staged};
use super::oracle::Content;
use super::world::{ScaledClock, SkewedClock, World};
use crate::commit::Settlement;
use crate::error::{Error, ErrorKind};
use crate::format::Entry;
use crate::handle::{OpenOptions, Repository};
use crate::id::{ChunkForm, ChunkId, HashAlgorithm};
use crate::key::Key;
use crate::maintenance::GcOptions;
use crate::refs::RefName;
use crate::session::{Pending, PublishHandle};
use crate::storage::layout::{BRANCHES, REF_SUFFIX, TAGS};

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
    Collector,
    Verifier,
}

/// What a process remembers from one life to the next: what a person who starts it again knows.
#[derive(Debug)]
pub(super) struct Remembered {
    random: SmallRng,
    /// Whether it moves refs more than it commits.
    moves: bool,
    /// How many milliseconds it thinks at most before it does the next thing.
    pace: u32,
    /// How many things it still has to do.
    pub(super) left: u32,
    written: u32,
    /// A commit that is under way: its operation, and how far it has come.
    pub(super) committing: Option<(usize, PublishHandle)>,
    /// What is to be settled first.
    pub(super) unsettled: Option<(usize, Pending)>,
}

/// One life of a process.
#[derive(Clone)]
pub(super) struct Actor {
    pub(super) world: Arc<World>,
    pub(super) process: usize,
    pub(super) life: u64,
    pub(super) remembered: Arc<Mutex<Remembered>>,
}

/// Length of the values that are chunks.
const LONG: usize = 1_100;

/// What ends a turn early; the oracle has been told.
pub(super) type Turn<T = ()> = Result<T, ()>;

impl Remembered {
    pub(super) fn new(seed: u64, left: u32, (moves, is_slow): (bool, bool)) -> Arc<Mutex<Self>> {
        let mut random = SmallRng::seed_from_u64(seed);
        let pace = if is_slow { 12_000 } else { [200, 800, 8_000][random.random_range(0..3)] };
        Arc::new(Mutex::new(Self { random, moves, pace, left, written: 0, committing: None, unsettled: None }))
    }
}

pub(super) fn value(byte: u8) -> Bytes {
    vec![byte; LONG].into()
}

pub(super) fn entry(value: &Bytes) -> Entry {
    if value.len() < LONG {
        return Entry::Inline(value.clone());
    }
    Entry::Chunk { id: ChunkId::new(ChunkForm::Raw, HashAlgorithm::Sha2_256.digest(value)), size: value.len() as u64 }
}

pub(super) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

pub(super) fn branch_register(name: &str) -> String {
    format!("{BRANCHES}{name}{REF_SUFFIX}")
}

impl Actor {
    pub(super) fn memory<T>(&self, use_it: impl FnOnce(&mut Remembered) -> T) -> T {
        use_it(&mut self.remembered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn draw(&self, below: u32) -> u32 {
        self.memory(|remembered| remembered.random.random_range(0..below))
    }

    fn pick<'a>(&self, names: &[&'a str]) -> &'a str {
        names[self.draw(u32::try_from(names.len()).unwrap()) as usize]
    }

    /// Lives until everything is done that is left to do.
    pub(super) async fn live(self, role: Role) {
        let Ok(repository) = self.open().await else { return };
        self.settle_what_is_left(&repository).await;
        while self.memory(|remembered| {
            let goes_on = remembered.left > 0;
            remembered.left = remembered.left.saturating_sub(1);
            goes_on
        }) {
            let thinks = u64::from(self.draw(self.memory(|remembered| remembered.pace))) * 1_000;
            self.world.sleep(thinks).await;
            let _told = match role {
                Role::Writer => self.write(&repository).await,
                Role::Reader => self.read(&repository).await,
                Role::Collector => self.collect(&repository).await,
                Role::Verifier => self.verify(&repository).await,
            };
        }
    }

    async fn open(&self) -> Turn<Repository> {
        let ahead = i64::from(self.draw(20_000)) * 1_000 - 10_000_000;
        for _ in 0..20 {
            let line = Line { world: Arc::clone(&self.world), process: self.process, life: self.life };
            let clock = Arc::new(SkewedClock { world: Arc::clone(&self.world), ahead });
            let options = OpenOptions::default().clock(clock).cache_bytes(1 << 20);
            match Repository::open_storage(Arc::new(line), options).await {
                Ok(repository) => return Ok(repository),
                Err(error) => self.expect(&error),
            }
            self.world.sleep(500_000).await;
        }
        Err(())
    }

    /// Notes an error that no process may see, however bad the network is.
    pub(super) fn expect(&self, error: &Error) {
        if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Internal | ErrorKind::Unsupported | ErrorKind::SourceChanged) {
            self.world.lock().oracle.violated(format!("process {} was told: {error}", self.process));
        }
    }

    pub(super) fn begin(&self, what: Operating, register: String, staged: Staged) -> usize {
        let state = &mut *self.world.lock();
        let at = state.oracle.operations.len();
        state.note(format_args!("process {} begins operation {at}: {what:?} {register}", self.process));
        state.oracle.operations.push(Operated { what, register, staged, answer: Answer::None });
        state.processes[self.process].operation = Some(at);
        at
    }

    pub(super) fn end(&self, at: usize, answer: Answer, how: &'static str) {
        let state = &mut *self.world.lock();
        state.note(format_args!("process {} was told of operation {at}: {answer:?} ({how})", self.process));
        let word = state.oracle.operations[at].word();
        state.coverage.ended(word, how);
        state.oracle.answered(at, answer);
        state.processes[self.process].operation = None;
    }

    async fn settle_what_is_left(&self, repository: &Repository) {
        for _ in 0..6 {
            let Some((of, pending)) = self.memory(|remembered| remembered.unsettled.clone()) else { return };
            let at = self.begin(Operating::Settle, branch_register(pending.branch.as_str()), Staged::Nothing);
            let settled = repository.settle(&pending.branch, pending.id).await;
            let (answer, how) = match settled {
                Ok(Settlement::Committed) => (Some(Answer::SettledCommitted), "committed"),
                Ok(Settlement::Lost) => (Some(Answer::Refused), "lost"),
                Err(error) if error.kind() == ErrorKind::NotFound => (Some(Answer::Refused), "never arrived"),
                Err(error) => {
                    self.expect(&error);
                    (None, "failed")
                }
            };
            self.end(at, Answer::Unchanged, how);
            if let Some(answer) = answer {
                self.world.lock().oracle.answered(of, answer);
                self.memory(|remembered| remembered.unsettled = None);
                return;
            }
        }
    }

    async fn write(&self, repository: &Repository) -> Turn {
        let branch = self.pick(&["main", "main", "main", "side", "side", "b0"]);
        let first = if self.memory(|remembered| remembered.moves) { 30 } else { 0 };
        match first + self.draw(100 - first) {
            0..48 => self.commit(repository, branch, Ending::Commit).await,
            48..60 => self.commit(repository, branch, Ending::Abandon).await,
            60..66 => self.commit(repository, branch, Ending::Fork).await,
            66..72 => self.merge(repository, branch).await,
            72..80 => self.reset(repository).await,
            80..84 => {
                let at = self.begin(Operating::Undo, branch_register(branch), Staged::Nothing);
                let done = repository.undo(&name(branch)).await;
                self.moved(at, done);
                Ok(())
            }
            84..90 => self.create(repository).await,
            90..94 => {
                let branch = self.pick(&["b0", "b1", "side"]);
                let at = self.begin(Operating::Delete, branch_register(branch), Staged::Nothing);
                let done = repository.delete_branch(&name(branch)).await;
                self.moved(at, done);
                Ok(())
            }
            94..97 => self.tag(repository).await,
            _ => {
                let tag = self.pick(&["t0", "t1"]);
                let at = self.begin(Operating::DeleteTag, format!("{TAGS}{tag}{REF_SUFFIX}"), Staged::Nothing);
                let done = repository.delete_tag(&name(tag)).await;
                self.moved(at, done);
                Ok(())
            }
        }
    }

    fn moved(&self, at: usize, done: crate::Result<crate::refs::Move>) {
        match done {
            Ok(done) => self.end(at, Answer::Moved(done), "done"),
            Err(error) => {
                self.expect(&error);
                let is_unknown = error.kind() == ErrorKind::OutcomeUnknown;
                self.end(at, if is_unknown { Answer::Unknown } else { Answer::Refused }, error.kind().word());
            }
        }
    }

    /// A version that some ref keeps.
    async fn some_version(&self, repository: &Repository) -> Turn<crate::Snapshot> {
        let revision = self.pick(&["main", "main~1", "side", "side~1", "branch:b0", "branch:b1"]);
        let read = repository.read(revision).await;
        read.map_err(|error| self.expect(&error))
    }

    async fn reset(&self, repository: &Repository) -> Turn {
        let target = self.some_version(repository).await?;
        let branch = self.pick(&["main", "side", "side", "b0"]);
        let at = self.begin(Operating::Reset, branch_register(branch), Staged::Nothing);
        let done = repository.reset(&name(branch), &target).await;
        self.moved(at, done);
        Ok(())
    }

    async fn create(&self, repository: &Repository) -> Turn {
        let target = self.some_version(repository).await?;
        let branch = self.pick(&["b0", "b1"]);
        let at = self.begin(Operating::Create, branch_register(branch), Staged::Nothing);
        let done = repository.create_branch(&name(branch), &target).await;
        self.moved(at, done);
        Ok(())
    }

    async fn tag(&self, repository: &Repository) -> Turn {
        let target = self.some_version(repository).await?;
        let tag = self.pick(&["t0", "t1"]);
        let at = self.begin(Operating::Tag, format!("{TAGS}{tag}{REF_SUFFIX}"), Staged::Nothing);
        let done = repository.create_tag(&name(tag), &target, "").await;
        self.moved(at, done);
        Ok(())
    }

    /// A few values: keys of its own and some that all share; few long values, so that names come back.
    pub(super) fn values(&self) -> Vec<(String, Bytes)> {
        let number = self.memory(|remembered| {
            remembered.written += 1;
            remembered.written
        });
        let mut values = vec![(format!("p{}/n", self.process), Bytes::from(format!("{}-{number}", self.process)))];
        for _ in 0..=self.draw(2) {
            let byte = u8::try_from(20 + self.draw(4)).unwrap();
            let at = if self.draw(100) < 12 { format!("s/{}", self.draw(3)) } else { format!("p{}/{}", self.process, self.draw(3)) };
            values.push((at, value(byte)));
        }
        values
    }

    async fn commit(&self, repository: &Repository, branch: &str, ending: Ending) -> Turn {
        let session = repository.write(branch).await.map_err(|error| self.expect(&error))?;
        let mut staged = Content::new();
        let (mut here, mut there) = (self.values(), Vec::new());
        if ending == Ending::Fork {
            there = here.split_off(1);
        }
        for (at, value) in &here {
            session.set(&key(at), value.clone()).await.map_err(|error| self.expect(&error))?;
        }
        staged.extend(here.iter().chain(&there).map(|(at, value)| (at.clone(), entry(value))));
        if self.draw(4) == 0 {
            self.world.sleep(u64::from(self.draw(12_000)) * 1_000).await;
        }
        match ending {
            Ending::Abandon => return session.flush().await.map_err(|error| self.expect(&error)),
            Ending::Fork => {
                let work = async {
                    let fork = repository.resume_fork(&session.fork().await?).await?;
                    for (at, value) in &there {
                        fork.set(&key(at), value.clone()).await?;
                    }
                    session.merge(&fork.finish().await?).await
                };
                work.await.map_err(|error| self.expect(&error))?;
            }
            Ending::Commit => {}
        }
        let what = if ending == Ending::Fork { Operating::Fork } else { Operating::Commit };
        self.publish(repository, session, what, branch, Staged::Values(staged)).await
    }

    /// Commits, and now and then again what failed.
    async fn publish(
        &self,
        repository: &Repository,
        mut session: crate::WriteSession,
        what: Operating,
        branch: &str,
        staged: Staged,
    ) -> Turn {
        for _ in 0..2 {
            let at = self.begin(what, branch_register(branch), staged.clone());
            let handle = session.publish_handle();
            self.memory(|remembered| remembered.committing = Some((at, handle)));
            let done = session.commit_settling(format!("operation {at}")).await;
            self.memory(|remembered| remembered.committing = None);
            let failed = match done {
                Ok(done) => {
                    let answer = if done.is_new { Answer::Committed(done.snapshot.id()) } else { Answer::Unchanged };
                    self.end(at, answer, if done.is_new { "done" } else { "unchanged" });
                    return Ok(());
                }
                Err(failed) => failed,
            };
            self.expect(failed.error());
            let is_unknown = failed.kind() == ErrorKind::OutcomeUnknown;
            self.end(at, if is_unknown { Answer::Unknown } else { Answer::Refused }, failed.kind().word());
            if is_unknown {
                let pending = failed.pending().cloned();
                self.memory(|remembered| remembered.unsettled = pending.map(|pending| (at, pending)));
                self.settle_what_is_left(repository).await;
                return Ok(());
            }
            if failed.kind() == ErrorKind::Conflict && self.draw(2) == 0 || self.draw(3) == 0 {
                return Ok(());
            }
            session = failed.into_session();
        }
        Ok(())
    }

    async fn merge(&self, repository: &Repository, branch: &str) -> Turn {
        let theirs = self.some_version(repository).await?;
        let merged = repository.merge(&name(branch), &theirs, crate::MergeOptions::default()).await;
        let merged = merged.map_err(|error| self.expect(&error))?;
        self.publish(repository, merged.session, Operating::Merge, branch, Staged::Version(theirs.id())).await
    }

    pub(super) async fn collect(&self, repository: &Repository) -> Turn {
        let options = GcOptions::default().grace(Duration::ZERO).clock(Arc::new(ScaledClock(Arc::clone(&self.world))));
        let at = self.begin(Operating::Collect, String::new(), Staged::Nothing);
        let done = repository.gc(&options).await;
        let how = match &done {
            Ok(report) if report.resumed => "ended another",
            Ok(report) if report.epoch == 0 => "nothing",
            Ok(report) if report.saved > 0 => "done, some saved",
            Ok(_) => "done",
            Err(error) => error.kind().word(),
        };
        self.end(at, Answer::Unchanged, how);
        done.map(drop).map_err(|error| self.expect(&error))
    }
}

/// What becomes of what a session has staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Commit,
    Abandon,
    Fork,
}
