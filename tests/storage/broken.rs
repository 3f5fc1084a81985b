//! Stores that break one promise each. The suite must notice every one of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use firnline::Result;
use firnline::storage::{
    Collecting, Expected, Extent, Memory, ObjectMeta, ObjectName, RegisterName, RemovalPermit, Replaced, Storage, Versioned, conformance,
};
use futures::StreamExt as _;
use futures::stream::BoxStream;

/// The promise that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// A replace looks first and writes later, as a store without conditional writes does.
    LooksFirst,
    /// An existing register can be created again.
    CreatesAgain,
    /// A replace by an old version is taken.
    TakesOldVersions,
    /// A range that ends after the object gives what there is.
    ShortRanges,
    /// An object that is longer than it may be is read all the same.
    IgnoresLimits,
    /// Only the first part of an object is written.
    FirstPart,
    /// A name that exists is not written again.
    Skips,
    /// Readers see the first half of an object while the second is written.
    HalfVisible,
    /// Listings end after 100 names.
    OnePage,
    /// A prefix only matches at a slash.
    WholeSegments,
    /// Absence is an empty object.
    EmptyForAbsent,
    /// What is removed stays.
    Keeps,
    /// It removes objects when that is not permitted any more.
    IgnoresPermits,
}

/// How long a broken promise stays open to be noticed: a millisecond was too short for a reader on a busy machine.
const WINDOW: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Store(Memory, Broken);

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken({})", self.0)
    }
}

impl Store {
    async fn current(&self, name: &RegisterName) -> Result<Expected> {
        Ok(self.0.load(name).await?.map_or(Expected::Absent, |found| Expected::Is(found.version)))
    }
}

#[async_trait]
impl Storage for Store {
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>> {
        let whole = self.0.get(name, Extent::ANY_LENGTH).await?;
        let extent = match (self.1, extent, &whole) {
            (Broken::ShortRanges, Extent::Range(range), Some(whole)) => {
                Extent::Range(range.start.min(whole.len() as u64)..range.end.min(whole.len() as u64))
            }
            (Broken::IgnoresLimits, Extent::Whole { .. }, _) => Extent::ANY_LENGTH,
            (_, extent, _) => extent,
        };
        if whole.is_none() && self.1 == Broken::EmptyForAbsent {
            return Ok(Some(Bytes::new()));
        }
        self.0.get(name, extent).await
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        match self.1 {
            Broken::FirstPart => self.0.put(name, parts.get(..1).unwrap_or(parts)).await,
            Broken::Skips if self.0.get(name, Extent::ANY_LENGTH).await?.is_some() => Ok(()),
            Broken::HalfVisible => {
                self.0.put(name, &parts[..parts.len() / 2]).await?;
                tokio::time::sleep(WINDOW).await;
                self.0.put(name, parts).await
            }
            _ => self.0.put(name, parts).await,
        }
    }

    async fn barrier(&self) -> Result<()> {
        self.0.barrier().await
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        match self.1 {
            Broken::OnePage => self.0.list(prefix).take(100).boxed(),
            Broken::WholeSegments if !prefix.is_empty() && !prefix.ends_with('/') => self.0.list(&format!("{prefix}/")),
            _ => self.0.list(prefix),
        }
    }

    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>> {
        self.0.load(name).await
    }

    async fn delete_many(&self, names: &[ObjectName], permit: &RemovalPermit) -> Vec<Result<()>> {
        match self.1 {
            Broken::Keeps => names.iter().map(|_| Ok(())).collect(),
            Broken::IgnoresPermits => self.0.delete_many(names, &RemovalPermit::endless()).await,
            _ => self.0.delete_many(names, permit).await,
        }
    }

    async fn collecting(&self) -> Result<Collecting> {
        self.0.collecting().await
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced {
        let current = self.current(name).await.expect("a store in memory answers");
        let forgiven = match (self.1, expected) {
            (Broken::CreatesAgain, Expected::Absent) => true,
            (Broken::TakesOldVersions, Expected::Is(_)) => current != Expected::Absent,
            _ => false,
        };
        if forgiven {
            return self.0.replace(name, &current, value).await;
        }
        if self.1 == Broken::LooksFirst && current == *expected {
            tokio::time::sleep(WINDOW).await;
            let now = self.current(name).await.expect("a store in memory answers");
            return self.0.replace(name, &now, value).await;
        }
        self.0.replace(name, expected, value).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_noticed() {
    use Broken::*;
    let all = [
        LooksFirst,
        IgnoresLimits,
        CreatesAgain,
        TakesOldVersions,
        ShortRanges,
        FirstPart,
        Skips,
        HalfVisible,
        OnePage,
        WholeSegments,
        EmptyForAbsent,
        Keeps,
        IgnoresPermits,
    ];
    for broken in all {
        let store = Arc::new(Store(Memory::new(), broken));
        let answer = tokio::spawn(conformance::all(store)).await;
        assert!(answer.is_err_and(|e| e.is_panic()), "{broken:?} must not pass");
    }
}
