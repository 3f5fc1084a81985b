//! A store in memory: its content is lost with the process; otherwise it is like any other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use super::{
    Collecting, Expected, Extent, Object, ObjectMeta, ObjectName, ObjectSource, ObjectWriter, RegisterName, RemovalPermit, Replaced,
    Storage, Version, Versioned, WholeObject, many, part,
};
use crate::error::Result;
use crate::time::{Clock, SystemClock, Timestamp};

/// Bytes with their names.
#[cfg(any(test, feature = "testing"))]
type NamedBytes = Vec<(String, Bytes)>;

/// A store in memory. A clone is another handle on the same store; it is freed with the last one.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Mutex<Contents>>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Contents {
    objects: BTreeMap<String, MemoryValue>,
    registers: BTreeMap<String, MemoryValue>,
    /// Counts the replaces of all registers, so that no version ever comes back.
    replaces: u64,
}

#[derive(Clone)]
struct MemoryValue {
    bytes: Bytes,
    modified: Timestamp,
    version: u64,
}

impl Memory {
    /// An empty store that dates objects by the clock of the operating system.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty store that dates objects by `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::default(), clock }
    }

    #[cfg(any(test, feature = "testing"))]
    /// Everything that is stored: objects, then registers, each in the order of their names.
    pub(super) fn contents(&self) -> (NamedBytes, NamedBytes) {
        let contents = self.lock();
        let copy = |map: &BTreeMap<String, MemoryValue>| map.iter().map(|(name, stored)| (name.clone(), stored.bytes.clone())).collect();
        (copy(&contents.objects), copy(&contents.registers))
    }

    #[cfg(any(test, feature = "testing"))]
    /// The bytes of an object.
    pub(super) fn object(&self, name: &str) -> Option<Bytes> {
        self.lock().objects.get(name).map(|stored| stored.bytes.clone())
    }

    #[cfg(any(test, feature = "testing"))]
    /// The present version of a register.
    pub(super) fn version(&self, name: &str) -> Option<Version> {
        self.lock().registers.get(name).map(|stored| version_of(stored.version))
    }

    /// Stores an object under a name that a listing gave.
    pub(crate) fn insert_object(&self, name: String, bytes: Bytes) {
        let modified = self.clock.now();
        self.lock().objects.insert(name, MemoryValue { bytes, modified, version: 0 });
    }

    #[cfg(any(test, feature = "testing"))]
    /// Sets a register unconditionally.
    pub(crate) fn insert_register(&self, name: String, bytes: Bytes) -> Version {
        let modified = self.clock.now();
        let mut contents = self.lock();
        contents.replaces += 1;
        let version = contents.replaces;
        contents.registers.insert(name, MemoryValue { bytes, modified, version });
        version_of(version)
    }

    #[cfg(test)]
    /// Loses an object or a register.
    pub(crate) fn lose(&self, name: &str) {
        let mut contents = self.lock();
        let lost = contents.objects.remove(name).or_else(|| contents.registers.remove(name));
        assert!(lost.is_some(), "{name} was not there");
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version_of(count: u64) -> Version {
    Version(Bytes::copy_from_slice(&count.to_be_bytes()))
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory:")
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = self.lock();
        f.debug_struct("Memory").field("objects", &contents.objects.len()).field("registers", &contents.registers.len()).finish()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Storage for Memory {
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>> {
        let stored = self.lock().objects.get(name.as_str()).map(|stored| stored.bytes.clone());
        stored.map(|bytes| part(name.as_str(), &bytes, extent)).transpose()
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        let bytes = match parts {
            [whole] => whole.clone(),
            parts => parts.concat().into(),
        };
        self.insert_object(name.as_str().to_owned(), bytes);
        Ok(())
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

    /// None: everything is in memory anyway.
    fn writer(&self) -> Option<Box<dyn ObjectWriter>> {
        None
    }

    async fn barrier(&self) -> Result<()> {
        Ok(())
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        let contents = self.lock();
        let found = [&contents.objects, &contents.registers].into_iter().flat_map(|map| {
            map.range(prefix.to_owned()..)
                .take_while(|(name, _)| name.starts_with(prefix))
                .map(|(name, stored)| Ok(ObjectMeta { name: name.clone(), size: stored.bytes.len() as u64, modified: stored.modified }))
        });
        stream::iter(found.collect::<Vec<_>>()).boxed()
    }

    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>> {
        let contents = self.lock();
        let stored = contents.registers.get(name.as_str());
        Ok(stored.map(|stored| Versioned { value: stored.bytes.clone(), version: version_of(stored.version) }))
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced {
        let modified = self.clock.now();
        let mut contents = self.lock();
        let current = contents.registers.get(name.as_str()).map(|stored| version_of(stored.version));
        if !expected.admits(current.as_ref()) {
            return Replaced::Refused;
        }
        contents.replaces += 1;
        let version = contents.replaces;
        contents.registers.insert(name.as_str().to_owned(), MemoryValue { bytes: value, modified, version });
        Replaced::Done(version_of(version))
    }

    async fn delete_many(&self, names: &[ObjectName], permit: &RemovalPermit) -> Vec<Result<()>> {
        let mut contents = self.lock();
        let remove = |name: &ObjectName| permit.require(name).map(|()| drop(contents.objects.remove(name.as_str())));
        names.iter().map(remove).collect()
    }

    /// By lease, as in an object store, so that collectors of one process keep each other away too. A removal happens at once or never.
    async fn collecting(&self) -> Result<Collecting> {
        Ok(Collecting::by_lease(Duration::ZERO))
    }

    fn clock(&self) -> Option<Timestamp> {
        None
    }
}
