//! A store that loses power.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use super::plan::mix;
use crate::error::{Error, Result};
use crate::storage::{
    Collecting, Expected, Extent, Memory, Object, ObjectMeta, ObjectName, ObjectSource, ObjectWriter, RegisterName, RemovalPermit,
    Replaced, Storage, Versioned, WholeObject, many,
};
use crate::time::Timestamp;

/// A store in memory in which objects are volatile until the barrier of the handle that put them, and which loses power
/// at a chosen moment. Registers are durable when they are answered.
///
/// Changes (put, barrier, replace) are counted. The power goes *during* the one chosen with [`crash_at`](Self::crash_at):
/// it may have happened or not, and it and every later call is `Unavailable`. [`survivors`](Self::survivors) then gives
/// the store as it is found afterwards.
pub struct Crashing {
    machine: Arc<Mutex<Machine>>,
    /// What readers see until the power goes.
    visible: Memory,
    /// Which handle on the machine this is: a barrier covers only what its own handle put.
    handle: u64,
}

#[derive(Default)]
struct Machine {
    /// Objects that are not durable in their present form.
    volatile: BTreeMap<String, Volatile>,
    /// A replace that the power loss interrupted: the name and the value that may have landed.
    in_flight: Option<(String, Bytes)>,
    changes: u64,
    crash_at: Option<u64>,
    crashed: bool,
    handles: u64,
}

/// An object in the cache of the machine.
struct Volatile {
    bytes: Bytes,
    /// What the disk has under the name.
    durable: Option<Bytes>,
    /// The handles whose barrier makes it durable.
    handles: BTreeSet<u64>,
}

impl Crashing {
    /// An empty store that has power until it is told otherwise.
    pub fn new() -> Self {
        Self::on(Memory::new())
    }

    /// A store on a machine that finds `disk` when it starts. Do not write to `disk` beside it.
    pub fn on(disk: Memory) -> Self {
        Self { machine: Arc::default(), visible: disk, handle: 0 }
    }

    /// Another handle on the same machine: its barriers do not cover what this one puts.
    #[must_use]
    pub fn another_handle(&self) -> Self {
        let mut machine = self.lock();
        machine.handles += 1;
        Self { machine: Arc::clone(&self.machine), visible: self.visible.clone(), handle: machine.handles }
    }

    /// The power goes during the change with this number, counted from 0 since the store was made.
    pub fn crash_at(&self, change: u64) {
        self.lock().crash_at = Some(change);
    }

    /// The power goes now.
    pub fn crash(&self) {
        self.lock().crashed = true;
    }

    /// Whether the power has gone.
    pub fn has_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// How many changes have begun: with none chosen to crash at, the number of moments at which a run can be cut off.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// The store as it is found after a power loss at this moment: durable objects and registers as they were; each
    /// other object whole, lost, cut short or partly zero, as the seed has it; a replace under way landed or not.
    pub fn survivors(&self, seed: u64) -> Memory {
        let machine = self.lock();
        let (objects, registers) = self.visible.contents();
        let disk = Memory::new();
        for (n, (name, bytes)) in objects.into_iter().enumerate() {
            let found = match machine.volatile.get(&name) {
                None => Some(bytes),
                Some(volatile) => volatile.after_power_loss(mix(seed, n as u64)),
            };
            if let Some(bytes) = found {
                disk.insert_object(name, bytes);
            }
        }
        for (name, bytes) in registers {
            disk.insert_register(name, bytes);
        }
        if let Some((name, value)) = machine.in_flight.clone().filter(|_| mix(seed, u64::MAX) & 1 == 0) {
            disk.insert_register(name, value);
        }
        disk
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_power(&self, name: &str) -> Result<()> {
        if self.lock().crashed { Err(no_power(name)) } else { Ok(()) }
    }
}

fn no_power(name: &str) -> Error {
    Error::unavailable(format!("{name}: the machine lost its power"))
}

impl Machine {
    /// Counts a change; true when the power goes during it.
    fn power_goes(&mut self) -> bool {
        let now = self.crash_at == Some(self.changes);
        self.changes += 1;
        self.crashed |= now;
        now
    }
}

impl Volatile {
    /// What the disk has under the name, as `chance` has it.
    fn after_power_loss(&self, chance: u64) -> Option<Bytes> {
        if self.durable.as_ref() == Some(&self.bytes) {
            return self.durable.clone(); // Written over itself: every sector is either the same or the same.
        }
        let cut = usize::try_from((chance >> 8) % (self.bytes.len() as u64 + 1)).expect("at most the length of bytes in memory");
        match chance % 4 {
            0 => Some(self.bytes.clone()),
            1 => self.durable.clone(),
            2 => Some(self.bytes.slice(..cut)),
            _ => {
                let mut bytes = self.bytes.to_vec();
                bytes.iter_mut().skip(cut).for_each(|byte| *byte = 0);
                Some(bytes.into())
            }
        }
    }
}

impl Default for Crashing {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Crashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crashing({})", self.visible)
    }
}

impl fmt::Debug for Crashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = self.lock();
        let volatile = machine.volatile.len();
        f.debug_struct("Crashing")
            .field("changes", &machine.changes)
            .field("crashed", &machine.crashed)
            .field("volatile", &volatile)
            .finish()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Storage for Crashing {
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>> {
        self.check_power(name.as_str())?;
        self.visible.get(name, extent).await
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        self.check_power(name.as_str())?;
        let bytes = Bytes::from(parts.concat());
        let mut machine = self.lock();
        let power_goes = machine.power_goes();
        let before = self.visible.object(name.as_str());
        let volatile = machine.volatile.entry(name.as_str().to_owned()).or_insert_with(|| Volatile {
            bytes: Bytes::new(),
            durable: before,
            handles: BTreeSet::new(),
        });
        if volatile.bytes != bytes {
            volatile.handles.clear();
        }
        volatile.bytes = bytes.clone();
        volatile.handles.insert(self.handle);
        self.visible.insert_object(name.as_str().to_owned(), bytes);
        if power_goes { Err(no_power(name.as_str())) } else { Ok(()) }
    }

    async fn get_many(&self, wanted: &[WholeObject]) -> Vec<Result<Option<Bytes>>> {
        many::get_each(self, wanted).await
    }

    async fn put_many(&self, objects: &[Object]) -> Vec<Result<()>> {
        many::put_each(self, objects).await
    }

    async fn put_from(&self, name: &ObjectName, source: &dyn ObjectSource) -> Result<()> {
        many::put_from(self, name, source).await
    }

    /// None: every object is one change, during which the power may go.
    fn writer(&self) -> Option<Box<dyn ObjectWriter>> {
        None
    }

    async fn barrier(&self) -> Result<()> {
        self.check_power("barrier")?;
        let mut machine = self.lock();
        if machine.power_goes() {
            return Err(no_power("barrier")); // Any part of it may be done: that is what a volatile object means.
        }
        machine.volatile.retain(|_, volatile| !volatile.handles.contains(&self.handle));
        Ok(())
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        match self.check_power(prefix) {
            Ok(()) => self.visible.list(prefix),
            Err(e) => stream::once(async { Err(e) }).boxed(),
        }
    }

    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>> {
        self.check_power(name.as_str())?;
        self.visible.load(name).await
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced {
        // A machine without power answers nothing.
        if let Err(e) = self.check_power(name.as_str()) {
            return Replaced::Unanswered(e);
        }
        let mut machine = self.lock();
        if machine.power_goes() {
            if expected.admits(self.visible.version(name.as_str()).as_ref()) {
                machine.in_flight = Some((name.as_str().to_owned(), value));
            }
            return Replaced::Unanswered(no_power(name.as_str()));
        }
        if !expected.admits(self.visible.version(name.as_str()).as_ref()) {
            return Replaced::Refused;
        }
        Replaced::Done(self.visible.insert_register(name.as_str().to_owned(), value))
    }

    /// Each removal is one change, and seen at once. It is durable at once, too: no power loss brings back what was removed, which would
    /// only make garbage.
    async fn delete_many(&self, names: &[ObjectName], permit: &RemovalPermit) -> Vec<Result<()>> {
        let mut answers = Vec::new();
        for name in names {
            let (is_off, power_goes) = {
                let mut machine = self.lock();
                (machine.crashed, !machine.crashed && machine.power_goes())
            };
            if is_off || power_goes {
                answers.push(Err(no_power(name.as_str())));
                continue;
            }
            self.lock().volatile.remove(name.as_str());
            answers.extend(self.visible.delete_many(std::slice::from_ref(name), permit).await);
        }
        answers
    }

    async fn collecting(&self) -> Result<Collecting> {
        self.check_power("a collection")?;
        self.visible.collecting().await
    }

    fn clock(&self) -> Option<Timestamp> {
        None
    }
}
