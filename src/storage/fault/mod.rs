//! Stores that fail on purpose, for tests of code that uses a store.
//!
//! [`Faulty`] makes single requests of another store go wrong as networks do. [`Crashing`] loses what no barrier made
//! durable, as machines do.

mod crash;
mod plan;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};

use super::{
    Collecting, Expected, Extent, Object, ObjectMeta, ObjectName, ObjectSource, ObjectWriter, RegisterName, RemovalPermit, Replaced,
    Storage, Versioned, WholeObject, many,
};
use crate::error::{Error, ErrorKind, Result};
use crate::time::{Clock, Timestamp};

pub use crash::Crashing;
pub use plan::{Rates, seeded};

/// The kinds of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Storage::get`].
    Get,
    /// [`Storage::put`].
    Put,
    /// [`Storage::barrier`].
    Barrier,
    /// [`Storage::list`].
    List,
    /// [`Storage::load`].
    Load,
    /// [`Storage::replace`].
    Replace,
    /// [`Storage::delete_many`], one for each name.
    Delete,
}

/// A request on its way to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// How many requests of any kind came before it.
    pub number: u64,
    /// Its kind.
    pub operation: Operation,
    /// The object or register, or the prefix of a listing; empty for a barrier.
    pub name: &'a str,
}

/// What becomes of a request.
pub enum Fault {
    /// It goes through.
    None,
    /// It is not sent, and the caller knows that: `Unavailable`, and a replace is [`Replaced::NotSent`].
    NotSent,
    /// It is sent and never reaches the store: `Unavailable`.
    Before,
    /// The store does it, and the answer is lost: `Unavailable`.
    After,
    /// The store does not do it and answers with an error of this kind; a replace is [`Replaced::Rejected`].
    Rejected(ErrorKind),
    /// The store does it, and a gateway on the way answers with an error of this kind as if it had not been done; a replace
    /// is [`Replaced::Rejected`].
    DoneAndRejected(ErrorKind),
    /// The store does it, the client sends it again by itself, and the second answer is what the caller sees: a replace
    /// that landed is `Refused`. Every other request goes through twice.
    Twice,
    /// It goes through once the future is done. A test holds a request back with a channel; nothing here waits for a
    /// clock.
    Wait(BoxFuture<'static, ()>),
    /// The caller is told `Unavailable` at once, and the request reaches the store once the future is done, on a task
    /// of its own. Reads are only told.
    Late(BoxFuture<'static, ()>),
}

/// Lets requests to another store go wrong as a plan says. The plan sees every request in the order of arrival.
pub struct Faulty {
    inner: Arc<dyn Storage>,
    plan: Box<dyn Fn(&Call<'_>) -> Fault + Send + Sync>,
    calls: AtomicU64,
    clock: Option<Arc<dyn Clock>>,
}

impl Faulty {
    /// Asks `plan` about every request to `inner`. [`seeded`] makes a plan of chances.
    pub fn new(inner: Arc<dyn Storage>, plan: impl Fn(&Call<'_>) -> Fault + Send + Sync + 'static) -> Self {
        Self { inner, plan: Box::new(plan), calls: AtomicU64::new(0), clock: None }
    }

    /// Tells the time of `clock` as that of the store.
    #[must_use]
    pub fn telling(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// How many requests have come, including those that failed.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn fault(&self, operation: Operation, name: &str) -> Fault {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        (self.plan)(&Call { number, operation, name })
    }

    /// Sends `call` to the store, or not, or twice; `late` is a copy of it that can run after the caller has gone.
    async fn run<'a, T: Send>(
        &'a self,
        (operation, name): (Operation, &str),
        call: impl Fn() -> BoxFuture<'a, Result<T>> + Send,
        late: impl FnOnce() -> Option<BoxFuture<'static, ()>> + Send,
    ) -> Result<T> {
        match self.fault(operation, name) {
            Fault::None => call().await,
            Fault::NotSent => Err(lost(name, "was not sent")),
            Fault::Before => Err(lost(name, "did not reach the store")),
            Fault::Rejected(kind) => Err(rejected(name, kind)),
            Fault::DoneAndRejected(kind) => {
                call().await?;
                Err(rejected(name, kind))
            }
            Fault::After => {
                call().await?;
                Err(lost(name, "was not answered"))
            }
            Fault::Twice => {
                call().await?;
                call().await
            }
            Fault::Wait(until) => {
                until.await;
                call().await
            }
            Fault::Late(until) => {
                if let Some(request) = late() {
                    tokio::spawn(async move {
                        until.await;
                        request.await;
                    });
                }
                Err(lost(name, "was not answered yet"))
            }
        }
    }
}

fn lost(name: &str, how: &str) -> Error {
    Error::unavailable(if name.is_empty() {
        format!("an injected fault: the request {how}")
    } else {
        format!("{name}: an injected fault: the request {how}")
    })
}

fn rejected(name: &str, kind: ErrorKind) -> Error {
    Error::new(kind, format!("{name}: an injected fault: the request was rejected"))
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty({})", self.inner)
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).field("calls", &self.calls()).finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Storage for Faulty {
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>> {
        let call = || self.inner.get(name, extent.clone());
        self.run((Operation::Get, name.as_str()), call, || None).await
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        let late = || {
            let (inner, name, parts) = (Arc::clone(&self.inner), name.clone(), parts.to_vec());
            Some(Box::pin(async move { drop(inner.put(&name, &parts).await) }) as BoxFuture<'static, ()>)
        };
        self.run((Operation::Put, name.as_str()), || self.inner.put(name, parts), late).await
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

    /// None: every object is one request, which goes wrong as a whole.
    fn writer(&self) -> Option<Box<dyn ObjectWriter>> {
        None
    }

    async fn barrier(&self) -> Result<()> {
        self.run((Operation::Barrier, ""), || self.inner.barrier(), || None).await
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        let error = |how| stream::once(async move { Err(how) });
        match self.fault(Operation::List, prefix) {
            Fault::None | Fault::Twice => self.inner.list(prefix),
            Fault::NotSent => error(lost(prefix, "was not sent")).boxed(),
            Fault::Rejected(kind) | Fault::DoneAndRejected(kind) => error(rejected(prefix, kind)).boxed(),
            Fault::Before | Fault::Late(_) => error(lost(prefix, "did not reach the store")).boxed(),
            // The first page came, the rest did not.
            Fault::After => self.inner.list(prefix).take(1).chain(error(lost(prefix, "was not answered in full"))).boxed(),
            Fault::Wait(until) => {
                let listing = self.inner.list(prefix);
                stream::once(until).flat_map(|()| stream::empty()).chain(listing).boxed()
            }
        }
    }

    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>> {
        self.run((Operation::Load, name.as_str()), || self.inner.load(name), || None).await
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced {
        let send = || self.inner.replace(name, expected, value.clone());
        let unanswered = |how| Replaced::Unanswered(lost(name.as_str(), how));
        match self.fault(Operation::Replace, name.as_str()) {
            Fault::None => send().await,
            Fault::NotSent => Replaced::NotSent(lost(name.as_str(), "was not sent")),
            Fault::Before => unanswered("did not reach the store"),
            Fault::After => {
                send().await;
                unanswered("was not answered")
            }
            Fault::Rejected(kind) => Replaced::Rejected(rejected(name.as_str(), kind)),
            Fault::DoneAndRejected(kind) => {
                send().await;
                Replaced::Rejected(rejected(name.as_str(), kind))
            }
            Fault::Twice => {
                send().await;
                send().await
            }
            Fault::Wait(until) => {
                until.await;
                send().await
            }
            Fault::Late(until) => {
                let (inner, name, expected, value) = (Arc::clone(&self.inner), name.clone(), expected.clone(), value.clone());
                tokio::spawn(async move {
                    until.await;
                    inner.replace(&name, &expected, value).await;
                });
                unanswered("was not answered yet")
            }
        }
    }

    /// Each removal is a request of its own.
    async fn delete_many(&self, names: &[ObjectName], permit: &RemovalPermit) -> Vec<Result<()>> {
        let mut answers = Vec::new();
        for name in names {
            let late = || {
                let (inner, name) = (Arc::clone(&self.inner), name.clone());
                let sent = async move { drop(inner.delete_many(&[name], &RemovalPermit::endless()).await) };
                Some(Box::pin(sent) as BoxFuture<'static, ()>)
            };
            if let Err(e) = permit.require(name) {
                answers.push(Err(e));
                continue;
            }
            let sent = || async { self.inner.delete_many(std::slice::from_ref(name), &RemovalPermit::endless()).await };
            let call = || Box::pin(async { sent().await.pop().unwrap_or(Ok(())) }) as BoxFuture<'_, _>;
            answers.push(self.run((Operation::Delete, name.as_str()), call, late).await);
        }
        answers
    }

    async fn collecting(&self) -> Result<Collecting> {
        self.inner.collecting().await
    }

    fn clock(&self) -> Option<Timestamp> {
        self.clock.as_ref().map_or_else(|| self.inner.clock(), |clock| Some(clock.now()))
    }
}
