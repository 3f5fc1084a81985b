//! Bytes by name: the narrow trait that a place must implement to hold a repository.
//!
//! There are two kinds of object. *Objects* are immutable and named by their content: writing one again is
//! harmless, and nothing is promised until [`Storage::barrier`]. *Registers* are the few that change: each replace
//! is one atomic, durable compare-and-swap.

pub(crate) mod cloud;
mod collecting;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub(crate) mod credentials;
pub mod doctor;
pub(crate) mod elapsed;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
pub(crate) mod layout;
mod local;
mod many;
mod memory;
#[cfg(any(test, feature = "testing"))]
mod observe;
#[cfg(feature = "remote")]
pub(crate) mod outside;
pub(crate) mod sources;
#[cfg(feature = "remote")]
mod tls;
pub(crate) mod url;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::{Error, Result};
use crate::time::Timestamp;

#[cfg(feature = "remote")]
pub use cloud::Cloud;
pub use cloud::{CloudOptions, Credentials, Variables};
pub use collecting::{Collecting, CollectionLock, RemovalPermit};
pub use credentials::{Credential, CredentialCommand, CredentialSet, CredentialSource, IssuedCredentials, Secret};
pub use layout::{ObjectName, RegisterName};
pub use local::{Local, LocalOptions, NetworkFileSystems};
pub(crate) use local::{is_local_disk, require_no_dangling_link, require_outside};
pub use many::{Object, ObjectSource, ObjectWriter, WholeObject};
pub use memory::Memory;
#[cfg(any(test, feature = "testing"))]
pub use observe::{Counts, Observed};
pub use url::open;

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The full name.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// When the store last wrote it, by the store's clock.
    pub modified: Timestamp,
}

/// Which value of a register was read: compared, never interpreted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(pub Bytes);

/// The value of a register and the version that a replace must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes.
    pub value: Bytes,
    /// Which value this is.
    pub version: Version,
}

/// Which bytes of an object are read, and how many at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// All of it, if it has no more than so many bytes.
    Whole {
        /// The greatest length that an object of its name can have.
        at_most: u64,
    },
    /// The bytes in this range, which must lie wholly inside the object.
    Range(Range<u64>),
}

impl Extent {
    /// All of an object, however long it is: for tests and tools, where memory need not be bounded.
    pub const ANY_LENGTH: Self = Self::Whole { at_most: u64::MAX };
}

/// What must be true of a register for a replace to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// It does not exist.
    Absent,
    /// It still has this version.
    Is(Version),
}

impl Expected {
    /// Whether a register with the version `current` (`None`: that does not exist) is as expected.
    pub fn admits(&self, current: Option<&Version>) -> bool {
        match (self, current) {
            (Self::Absent, None) => true,
            (Self::Is(want), Some(have)) => want == have,
            (Self::Absent, Some(_)) | (Self::Is(_), None) => false,
        }
    }
}

/// What became of a replace, as far as the answer tells.
///
/// Only [`Done`](Self::Done) and [`NotSent`](Self::NotSent) are definite. After any other the caller reads the register
/// back to find out whether the replace happened.
#[derive(Debug)]
pub enum Replaced {
    /// Written, durable, with this version.
    Done(Version),
    /// The store answers that the register is not as expected. Does not prove that *another* writer changed it: something
    /// between here and the store may have sent the request twice.
    Refused,
    /// The store answers that it will not do it, for this reason: missing rights, or a request it does not understand. No
    /// proof either: a gateway may pass a request on and answer with an error afterwards.
    Rejected(Error),
    /// The replace was sent, or begun, and no answer says what became of it. It may have happened, or may still happen.
    Unanswered(Error),
    /// Nothing was sent: the register is as it was, and nothing of this call can change it later.
    NotSent(Error),
}

/// A place that holds objects and registers.
///
/// Absence is `None`, never an error. Every error names the object or register; those of kind `Unavailable` and `Locked` say
/// that the same call may succeed later ([`Error::is_retryable`]).
///
/// Every future may be dropped. Dropping one that reads changes nothing. After one that writes was dropped, the object or
/// register may have been written or not, or may be later; a put may be repeated, and a register is read back.
#[async_trait]
pub trait Storage: fmt::Display + fmt::Debug + Send + Sync {
    /// Reads an object, or a part of it; `None` when it does not exist.
    ///
    /// `Corrupt` when the object is longer than `extent` allows, or too short for the range: the caller knows its length from
    /// what names it. The length that the store tells is compared before any byte is read or any memory set aside for it.
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>>;

    /// Writes an object whole (its content is `parts` end to end): readers see all of it or nothing. An existing
    /// object is written again, because it may be torn or unsynced. Durable only after [`barrier`](Self::barrier).
    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()>;

    /// Reads objects whole: an answer for each, in their order. All of them are in memory at once, so the caller bounds them.
    /// Means what as many calls of [`get`](Self::get) mean; where a call costs more than a small object, this is how to read
    /// many.
    async fn get_many(&self, wanted: &[WholeObject]) -> Vec<Result<Option<Bytes>>> {
        many::get_each(self, wanted).await
    }

    /// Writes objects: an answer for each, in their order. Means what as many calls of [`put`](Self::put) mean.
    async fn put_many(&self, objects: &[Object]) -> Vec<Result<()>> {
        many::put_each(self, objects).await
    }

    /// Writes an object whose content does not have to be in memory. Means what [`put`](Self::put) means.
    ///
    /// An error of the source is returned as it is, and the object is not written. The source may be read more than once.
    async fn put_from(&self, name: &ObjectName, source: &dyn ObjectSource) -> Result<()> {
        many::put_from(self, name, source).await
    }

    /// A writer for an object that does not have to be in memory as a whole and that gets its name when it is complete; `None`
    /// when this store has to know the name before the content. Nothing happens before the first piece.
    fn writer(&self) -> Option<Box<dyn ObjectWriter>> {
        None
    }

    /// Returns once everything this handle has put is durable, together with the directories it lies in.
    ///
    /// When it fails, nothing it covered is durable for sure. It may be asked again; a store that cannot tell any more
    /// what was lost keeps failing until those objects have been put again.
    async fn barrier(&self) -> Result<()>;

    /// Lists the objects and registers whose name begins with `prefix`, in no particular order.
    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>>;

    /// Reads a register; `None` when it does not exist.
    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>>;

    /// Replaces a register if it is as expected, atomically and durably. Sends one request at most: only the caller knows
    /// whether the same replace may be sent again.
    ///
    /// The answer says whether anything was sent, so there is no `Result` whose `?` could take a replace without an answer
    /// for one that did not happen. Dropping the future leaves it open whether the replace happens.
    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced;

    /// Removes objects: an answer for each, in their order. Removing what does not exist succeeds.
    ///
    /// Only garbage collection calls this, under its own rules: an object that is removed may be about to be linked. A removal that was
    /// not answered, or whose future was dropped, may still happen, but no later than [`Collecting::late`] after it was sent.
    ///
    /// Looks at `permit` before each request, repetitions included; once that has ended, nothing more is sent, and what was not sent is
    /// answered as `Unavailable`.
    ///
    /// The default refuses, as `Unsupported`: in a store without this, garbage stays.
    async fn delete_many(&self, names: &[ObjectName], _permit: &RemovalPermit) -> Vec<Result<()>> {
        names.iter().map(|name| Err(Error::unsupported(format!("{name} stays, because objects in {self} cannot be removed")))).collect()
    }

    /// Begins a collection of garbage, as far as the store has a part in it: takes the lock that keeps other collectors away, if there is
    /// one. `Locked` when another process holds it. The default refuses as [`delete_many`](Self::delete_many) does.
    ///
    /// Dropping the future leaves nothing behind.
    async fn collecting(&self) -> Result<Collecting> {
        Err(Error::unsupported(format!("objects in {self} cannot be removed, so garbage is not collected there")))
    }

    /// What the store's own clock shows now, as far as its answers have told; asks nothing. `None` when the store has no
    /// clock besides this machine's, or has not answered yet.
    fn clock(&self) -> Option<Timestamp> {
        None
    }
}

/// The range of an object of `size` bytes that `extent` asks for; `Corrupt` when its size is not as `extent` says.
fn check_extent(name: &str, size: u64, extent: Extent) -> Result<Range<u64>> {
    match extent {
        Extent::Whole { at_most } if size > at_most => {
            Err(Error::corrupt(format!("{name} has {size} bytes; an object of this name has at most {at_most}")))
        }
        Extent::Whole { .. } => Ok(0..size),
        Extent::Range(range) => check_range(name, size, range),
    }
}

/// Checks that `range` lies wholly inside an object of `size` bytes.
fn check_range(name: &str, size: u64, range: Range<u64>) -> Result<Range<u64>> {
    if range.start > range.end {
        return Err(Error::invalid(format!("{name}: the range {}..{} runs backwards", range.start, range.end)));
    }
    if range.end > size {
        return Err(Error::corrupt(format!("{name} has {size} bytes, but {}..{} was asked for", range.start, range.end)));
    }
    Ok(range)
}

/// The part of an object held in memory that `extent` asks for.
fn part(name: &str, bytes: &Bytes, extent: Extent) -> Result<Bytes> {
    let range = check_extent(name, bytes.len() as u64, extent)?;
    let index = |n: u64| usize::try_from(n).expect("the range lies inside bytes in memory");
    Ok(bytes.slice(index(range.start)..index(range.end)))
}
