//! The way between a process and the store, on which requests are lost, delayed, repeated and refused.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::join_all;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use rand::RngExt as _;

use super::coverage::Fired;
use super::world::{SCALE, State, World};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::fault::Operation;
use crate::storage::{
    Collecting, Expected, Extent, ObjectMeta, ObjectName, RegisterName, RemovalPermit, Replaced, Storage, Version, Versioned,
};
use crate::time::Timestamp;

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
/// How late a removal happens at most: what the store promises to collectors.
const LATE_REMOVAL: u64 = 3 * SECOND;
/// How late any other request happens at most.
const LATE: u64 = 60 * SECOND;
/// How old a listing of objects may be.
const STALE: u64 = 4 * SECOND;
/// When a caller gives up waiting.
const PATIENCE: u64 = 2 * SECOND;

/// How often things go wrong, of a thousand requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    pub(super) before: u32,
    pub(super) after: u32,
    pub(super) late: u32,
    pub(super) twice: u32,
    pub(super) echo: u32,
    pub(super) busy: u32,
    pub(super) rejected: u32,
    pub(super) not_sent: u32,
    pub(super) slow: u32,
    pub(super) stale: u32,
    pub(super) pause: u32,
    pub(super) cut_off: u32,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Through,
    NotSent,
    Before,
    After,
    Late,
    Twice,
    Echo,
    FalseRefusal,
    Busy,
    Denied,
    Met,
    FalseRejection,
}

/// What a caller is told.
#[derive(Debug)]
enum Told<T> {
    Done(T),
    NotSent,
    Lost,
    Refused,
    Rejected(ErrorKind),
}

/// A store as one life of a process reaches it.
pub(super) struct Line {
    pub(super) world: Arc<World>,
    pub(super) process: usize,
    pub(super) life: u64,
}

impl Line {
    /// Waits while the process stands still; for ever when its life has ended.
    async fn awake(&self) {
        loop {
            let until = {
                let state = self.world.lock();
                let process = &state.processes[self.process];
                if process.life == self.life {
                    process.paused_until.checked_sub(state.now).filter(|left| *left > 0)
                } else {
                    Some(u64::MAX)
                }
            };
            match until {
                None => return,
                Some(u64::MAX) => std::future::pending().await,
                Some(left) => self.world.sleep(left).await,
            }
        }
    }

    /// Sends a request, which `apply` carries out whenever it arrives, and waits for the answer.
    async fn send<T: Send + 'static>(
        &self,
        operation: Operation,
        name: &str,
        apply: impl Fn(&mut State) -> T + Send + Sync + 'static,
    ) -> Told<T> {
        self.awake().await;
        let now = self.world.lock().now;
        self.send_signed(operation, name, now, apply).await
    }

    /// The same, now, with a request that was signed at `signed`.
    async fn send_signed<T: Send + 'static>(
        &self,
        operation: Operation,
        name: &str,
        signed: u64,
        apply: impl Fn(&mut State) -> T + Send + Sync + 'static,
    ) -> Told<T> {
        let receiver = self.dispatch(operation, name, signed, Arc::new(apply));
        let Ok(told) = receiver.await else { return std::future::pending().await };
        self.awake().await;
        told
    }

    fn dispatch<T: Send + 'static>(
        &self,
        operation: Operation,
        name: &str,
        signed: u64,
        apply: Arc<dyn Fn(&mut State) -> T + Send + Sync>,
    ) -> oneshot::Receiver<Told<T>> {
        let (sender, receiver) = oneshot::channel();
        let state = &mut *self.world.lock();
        let fate = self.draw(state, operation, name);
        let there = state.latency();
        let back = state.latency();
        state.coverage.requests += 1;
        let process = self.process;
        state.note(format_args!("{process} sends {operation:?} {name}: {fate:?}"));
        let latest = match operation {
            Operation::Delete => (signed + LATE_REMOVAL).saturating_sub(state.now),
            _ => LATE,
        };
        let tell = move |state: &mut State, after: u64, told| state.after(after, move |_| drop(sender.send(told)));
        let later = state.random.random_range(0..=latest);
        // A request that arrives after its time is refused, as an outdated signature is.
        let first = if matches!(fate, Fate::Late) { later } else { there };
        if first > latest {
            tell(state, PATIENCE, Told::Lost);
            return receiver;
        }
        match fate {
            Fate::NotSent => tell(state, MS, Told::NotSent),
            Fate::Before => tell(state, PATIENCE, Told::Lost),
            Fate::Busy => tell(state, there + back, Told::Rejected(ErrorKind::Unavailable)),
            Fate::Denied => tell(state, there + back, Told::Rejected(ErrorKind::Denied)),
            Fate::Met => tell(state, there + back, Told::Lost),
            Fate::Through => state.after(there, move |state| {
                let done = apply(state);
                tell(state, back, Told::Done(done));
            }),
            Fate::FalseRefusal => state.after(there, move |state| {
                apply(state);
                tell(state, back, Told::Refused);
            }),
            Fate::FalseRejection => state.after(there, move |state| {
                apply(state);
                tell(state, back, Told::Rejected(ErrorKind::Unavailable));
            }),
            Fate::After | Fate::Late => {
                state.after(first, move |state| drop(apply(state)));
                tell(state, PATIENCE, Told::Lost);
            }
            Fate::Twice => state.after(there, move |state| {
                apply(state);
                let again = state.latency().min(latest - there);
                state.after(again, move |state| {
                    let done = apply(state);
                    tell(state, back, Told::Done(done));
                });
            }),
            Fate::Echo => {
                let again = Arc::clone(&apply);
                state.after(there.max(later), move |state| drop(again(state)));
                state.after(there, move |state| {
                    let done = apply(state);
                    tell(state, back, Told::Done(done));
                });
            }
        }
        receiver
    }

    fn draw(&self, state: &mut State, operation: Operation, name: &str) -> Fate {
        let weather = state.weather;
        let (pause, cut) = (state.chance(weather.pause), state.chance(weather.cut_off));
        if pause {
            let time = state.random.random_range(SECOND..60 * SECOND);
            state.processes[self.process].paused_until = state.now + time;
            state.fired(Fired::Pause);
        }
        let now = state.now;
        if cut && name.starts_with("refs/") && operation == Operation::Replace {
            // What is sent at this moment may still get through.
            state.processes[self.process].cut_off_until = now + state.random.random_range(SECOND..20 * SECOND);
            state.fired(Fired::CutOff);
            let fates = [Fate::Before, Fate::After, Fate::Late];
            return fates[state.random.random_range(0..3)];
        }
        let is_cut_off = state.processes[self.process].cut_off_until > now;
        let fate = if is_cut_off { Fate::Before } else { state.fate(operation) };
        if let Some(fired) = fired(fate, operation) {
            state.fired(fired);
        }
        if operation == Operation::Delete && fate != Fate::Through {
            state.fired(Fired::Removal);
        }
        fate
    }
}

/// What is counted of a fate.
fn fired(fate: Fate, operation: Operation) -> Option<Fired> {
    let is_read = matches!(operation, Operation::Get | Operation::Load | Operation::List);
    Some(match fate {
        Fate::Through => return None,
        Fate::Before | Fate::Busy if is_read => Fired::LostRead,
        Fate::Before => Fired::LostBefore,
        Fate::After => Fired::LostAfter,
        Fate::Late if operation == Operation::Delete => Fired::LateRemoval,
        Fate::Late => Fired::Late,
        Fate::Twice => Fired::Twice,
        Fate::Echo => Fired::Echo,
        Fate::FalseRefusal => Fired::FalseRefusal,
        Fate::Busy => Fired::Busy,
        Fate::Denied => Fired::Denied,
        Fate::Met => Fired::Met,
        Fate::FalseRejection => Fired::FalseRejection,
        Fate::NotSent => Fired::NotSent,
    })
}

impl State {
    /// How long a request or an answer takes.
    fn latency(&mut self) -> u64 {
        if self.chance(self.weather.slow) {
            self.fired(Fired::Slow);
            let most = if self.random.random_range(0..8) == 0 { 8_000 } else { 1_500 };
            return self.random.random_range(50 * MS..most * MS);
        }
        self.random.random_range(MS..20 * MS)
    }

    fn fate(&mut self, operation: Operation) -> Fate {
        let weather = self.weather;
        let changes: &[(u32, Fate)] = &[
            (weather.before, Fate::Before),
            (weather.busy, Fate::Busy),
            (weather.after, Fate::After),
            (weather.late, Fate::Late),
            (weather.twice, Fate::Twice),
            (weather.echo, Fate::Echo),
        ];
        let replaces: &[(u32, Fate)] = &[
            (weather.after, Fate::FalseRefusal),
            (weather.rejected, Fate::Denied),
            (weather.rejected, Fate::Met),
            (weather.rejected, Fate::FalseRejection),
            (weather.not_sent, Fate::NotSent),
        ];
        let (changes, replaces) = match operation {
            Operation::Get | Operation::Load | Operation::List | Operation::Barrier => (&changes[..2], &replaces[..0]),
            Operation::Put | Operation::Delete => (changes, &replaces[..0]),
            Operation::Replace => (changes, replaces),
        };
        let mut die = self.random.random_range(0..1000);
        for (chance, fate) in changes.iter().chain(replaces) {
            if die < *chance {
                return *fate;
            }
            die -= chance;
        }
        Fate::Through
    }
}

fn trouble(name: &str, kind: ErrorKind) -> Error {
    Error::new(kind, format!("{name}: the simulated store did not answer"))
}

impl<T> Told<T> {
    /// The answer to a request that is not a replace.
    fn plain(self, name: &str) -> Result<T> {
        match self {
            Self::Done(done) => Ok(done),
            Self::Rejected(kind) => Err(trouble(name, kind)),
            Self::NotSent | Self::Lost | Self::Refused => Err(trouble(name, ErrorKind::Unavailable)),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated:")
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({}, {})", self.process, self.life)
    }
}

#[async_trait]
impl Storage for Line {
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>> {
        let wanted = name.as_str().to_owned();
        let apply = move |state: &mut State| {
            let stored = state.store.get(&wanted)?;
            let range = match &extent {
                Extent::Whole { .. } => 0..stored.len(),
                Extent::Range(range) => usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap(),
            };
            Some(stored.slice(range))
        };
        self.send(Operation::Get, name.as_str(), apply).await.plain(name.as_str())
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        let (wanted, bytes) = (name.as_str().to_owned(), Bytes::from(parts.concat()));
        let apply = move |state: &mut State| state.put(&wanted, &bytes);
        self.send(Operation::Put, name.as_str(), apply).await.plain(name.as_str())
    }

    async fn barrier(&self) -> Result<()> {
        Ok(())
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        let prefix = prefix.to_owned();
        let rows = async move {
            let wanted = prefix.clone();
            let apply = move |state: &mut State| state.list(&wanted);
            match self.send(Operation::List, &prefix, apply).await.plain(&prefix) {
                Ok(rows) => rows,
                Err(error) => vec![Err(error)],
            }
        };
        rows.map(stream::iter).flatten_stream().boxed()
    }

    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>> {
        let wanted = name.as_str().to_owned();
        let apply = move |state: &mut State| state.store.load(&wanted);
        self.send(Operation::Load, name.as_str(), apply).await.plain(name.as_str())
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced {
        let (wanted, expected) = (name.as_str().to_owned(), expected.clone());
        let operation = self.world.lock().processes[self.process].operation;
        let apply = move |state: &mut State| state.replace(&wanted, &expected, &value, operation);
        let unanswered = || trouble(name.as_str(), ErrorKind::Unavailable);
        match self.send(Operation::Replace, name.as_str(), apply).await {
            Told::Done(Some(version)) => Replaced::Done(version),
            Told::Done(None) | Told::Refused => Replaced::Refused,
            Told::Rejected(kind) => Replaced::Rejected(trouble(name.as_str(), kind)),
            Told::Lost => Replaced::Unanswered(unanswered()),
            Told::NotSent => Replaced::NotSent(unanswered()),
        }
    }

    /// Each removal is a request of its own; all are under way at once. The process may stand still between the signature and the look at
    /// the permit.
    async fn delete_many(&self, names: &[ObjectName], permit: &RemovalPermit) -> Vec<Result<()>> {
        let removals = names.iter().map(|name| async move {
            let signed = self.world.lock().now;
            self.awake().await;
            permit.require(name)?;
            let wanted = name.as_str().to_owned();
            let apply = move |state: &mut State| state.remove(&wanted);
            self.send_signed(Operation::Delete, name.as_str(), signed, apply).await.plain(name.as_str())
        });
        join_all(removals).await
    }

    async fn collecting(&self) -> Result<Collecting> {
        Ok(Collecting::by_lease(Duration::from_micros(LATE_REMOVAL + 1) * SCALE))
    }

    fn clock(&self) -> Option<Timestamp> {
        Some(self.world.lock().time())
    }
}

impl State {
    fn put(&mut self, name: &str, bytes: &Bytes) {
        self.note(format_args!("put {name}"));
        let now = self.now;
        self.oracle.put(&self.store, name, bytes);
        self.store.put(name, bytes.clone(), now);
    }

    fn remove(&mut self, name: &str) {
        let now = self.now;
        let was_there = self.store.remove(name, now);
        self.note(format_args!("remove {name}: {was_there}"));
        self.oracle.removed(name);
    }

    fn replace(&mut self, name: &str, expected: &Expected, value: &Bytes, operation: Option<usize>) -> Option<Version> {
        let replaced = self.store.replace(name, expected, value);
        self.note(format_args!("replace {name}: {}", replaced.is_some()));
        if replaced.is_none() {
            self.fired(Fired::Refused);
        } else if name == "gc/state.json" {
            self.store.is_collecting = !value.windows(6).any(|word| word == b"\"idle\"");
        } else if name.starts_with("refs/") {
            let now = self.now;
            self.oracle.replaced(&self.store, name, value, operation, now);
        }
        replaced
    }

    fn list(&mut self, prefix: &str) -> Vec<Result<ObjectMeta>> {
        let is_stale = !prefix.starts_with("refs/") && self.chance(self.weather.stale);
        let age = if is_stale { self.random.random_range(0..=STALE) } else { 0 };
        if is_stale {
            self.fired(Fired::StaleList);
        }
        let begin = self.time().minus(Duration::from_micros(self.now));
        let rows = self.store.list(prefix, self.now.saturating_sub(age)).into_iter();
        let meta = |(name, size, modified)| Ok(ObjectMeta { name, size, modified: begin.plus(Duration::from_micros(modified)) });
        let mut rows: Vec<_> = rows.map(meta).collect();
        if self.chance(self.weather.before) {
            self.fired(Fired::CutList);
            rows.truncate(self.random.random_range(0..=rows.len()));
            rows.push(Err(trouble(prefix, ErrorKind::Unavailable)));
        }
        rows
    }
}
