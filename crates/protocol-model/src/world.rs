//! The store, what is on its way to it, and what must hold of both.

use std::collections::BTreeMap;
use std::sync::Arc;

use firnline::protocol::{CollectionState, Phase, RefRegister};

use crate::collector::Collector;
use crate::mover::Mover;
use crate::settler::Settler;
use crate::writer::Writer;

/// A set of objects: chunks in the lowest bits, the snapshots of versions above. A snapshot stands for all nodes of its version, too.
pub(crate) type Names = u16;

/// How many chunks there are.
const CHUNKS: u32 = 4;
/// How many versions there can be. A commit that would make one more stands still.
const MOST_VERSIONS: usize = 12;
/// All chunks.
pub(crate) const ALL_CHUNKS: Names = (1 << CHUNKS) - 1;

/// The snapshot of a version.
pub(crate) fn snapshot(version: u8) -> Names {
    1 << (CHUNKS + u32::from(version))
}

/// The branches of the model.
pub(crate) const MAIN: u8 = 0;
pub(crate) const SIDE: u8 = 1;

/// A version: it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Version {
    /// Itself and all versions before it, as snapshots.
    pub(crate) line: Names,
    /// The chunks of its manifest.
    pub(crate) content: Names,
    /// Everything it leads to.
    pub(crate) closure: Names,
}

/// A request that has not arrived yet. One of a crashed or impatient sender may arrive at any later time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    /// Replace a ref, if it is what is expected.
    Replace { branch: u8, expected: Arc<RefRegister>, next: Arc<RefRegister>, from: u8, is_awaited: bool },
    /// Replace the register of collections.
    Advance { expected: Arc<CollectionState>, next: Arc<CollectionState>, from: u8, is_awaited: bool },
    /// Remove objects.
    Remove(Names),
}

/// Somebody who works on the repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Actor {
    Writer(Writer),
    Mover(Mover),
    Settler(Settler),
    Collector(Collector),
    /// Finished or crashed.
    Gone,
}

/// How often something may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Trouble {
    /// A process ends. What it has sent may still arrive.
    pub(crate) crashes: u8,
    /// A request gets no answer in time. It may still arrive, or have arrived.
    pub(crate) silences: u8,
    /// A request is sent twice by something on the way.
    pub(crate) copies: u8,
    /// A writer stops asking what became of its replace.
    pub(crate) quits: u8,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) versions: Vec<Version>,
    pub(crate) present: Names,
    pub(crate) refs: Vec<Option<Arc<RefRegister>>>,
    pub(crate) collection: Arc<CollectionState>,
    pub(crate) lists: BTreeMap<String, Names>,
    pub(crate) wire: Vec<Message>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) trouble: Trouble,
    /// The acts of others that have happened.
    pub(crate) acts: u8,
    /// The versions whose commit was answered with success.
    pub(crate) told: Names,
    /// The versions of which it was said that they will never be seen.
    pub(crate) failed: Names,
    /// A settlement told of a version that no ref has held.
    pub(crate) is_wrong: bool,
    /// Versions whose data has expired: recorded moves keep them no more, tips do.
    pub(crate) expired: Names,
    /// The version that was sent first to `main`.
    pub(crate) sent: Option<u8>,
}

impl World {
    /// Adds a version and returns its number; `None` when there are too many.
    pub(crate) fn add_version(&mut self, parents: &[u8], chunks: Names) -> Option<u8> {
        let version = u8::try_from(self.versions.len()).unwrap();
        if self.versions.len() >= MOST_VERSIONS {
            return None;
        }
        let behind = parents.iter().map(|parent| self.versions[usize::from(*parent)]);
        let mut made = Version { line: snapshot(version), content: chunks, closure: chunks | snapshot(version) };
        for (at, parent) in behind.enumerate() {
            made.line |= parent.line;
            made.closure |= parent.closure;
            made.content |= if at == 0 { parent.content } else { 0 };
        }
        made.closure |= made.content;
        self.versions.push(made);
        Some(version)
    }

    pub(crate) fn version(&self, version: u8) -> Version {
        self.versions[usize::from(version)]
    }

    pub(crate) fn read(&self, branch: u8) -> Option<Arc<RefRegister>> {
        self.refs[usize::from(branch)].clone()
    }

    /// The versions that a ref names: its tip and both ends of its moves.
    fn named(register: &RefRegister) -> impl Iterator<Item = u8> {
        register.tip().into_iter().chain(Self::moved(register))
    }

    fn moved(register: &RefRegister) -> impl Iterator<Item = u8> {
        register.moves().flat_map(|m| [m.from, m.to]).flatten()
    }

    /// The versions that a ref keeps: its tip, and both ends of its moves unless they have expired.
    fn roots(&self, register: &RefRegister) -> impl Iterator<Item = u8> {
        register.tip().into_iter().chain(Self::moved(register).filter(|end| self.expired & snapshot(*end) == 0))
    }

    /// What is recorded of a ref expires, except its tip.
    pub(crate) fn expire(&mut self, register: &RefRegister) {
        self.expired |= Self::moved(register).fold(0, |ends, end| ends | snapshot(end));
    }

    /// Everything that a ref leads to.
    pub(crate) fn reached(&self, register: &RefRegister) -> Names {
        self.roots(register).fold(0, |names, root| names | self.version(root).closure)
    }

    /// Whether a ref keeps a version.
    pub(crate) fn keeps(&self, register: &RefRegister, version: u8) -> bool {
        self.roots(register).any(|root| self.version(root).line & snapshot(version) != 0)
    }

    /// Whether any ref keeps a version, and whether one does that was raised to `epoch`.
    pub(crate) fn kept(&self, version: u8, epoch: u64) -> (bool, bool) {
        let keepers = || self.refs.iter().flatten().filter(|register| self.keeps(register, version));
        (keepers().next().is_some(), keepers().any(|register| register.epoch() >= epoch))
    }

    /// Replaces a ref, if it is what is expected.
    pub(crate) fn replace(&mut self, branch: u8, expected: &RefRegister, next: &Arc<RefRegister>) -> bool {
        let register = &mut self.refs[usize::from(branch)];
        let is_expected = register.as_deref() == Some(expected);
        if is_expected {
            *register = Some(Arc::clone(next));
        }
        is_expected
    }

    /// Replaces the register of collections, if it is what is expected. Who takes over a sweep has waited until the lease of the one before
    /// had ended.
    pub(crate) fn advance(&mut self, expected: &CollectionState, next: &Arc<CollectionState>) -> bool {
        if *self.collection != *expected {
            return false;
        }
        if expected.phase() == Phase::Sweep && next.phase() == Phase::Sweep && expected.owner() != next.owner() {
            for actor in &mut self.actors {
                if let Actor::Collector(collector) = actor {
                    collector.end_lease(expected.owner());
                }
            }
        }
        self.collection = Arc::clone(next);
        true
    }

    /// The versions that any ref shows, or showed before a recorded move.
    fn visible(&self) -> Names {
        let named = self.refs.iter().flatten().flat_map(|register| Self::named(register));
        named.fold(0, |names, root| names | self.version(root).line)
    }

    /// Everything that a ref leads to is there.
    pub(crate) fn nothing_is_lost(&self) -> bool {
        self.refs.iter().flatten().all(|register| self.reached(register) & !self.present == 0)
    }

    /// What was answered with success is on a branch, or was moved away.
    pub(crate) fn success_is_true(&self) -> bool {
        self.told & !self.visible() == 0
    }

    /// What was said to have failed is never seen.
    pub(crate) fn failure_is_true(&self) -> bool {
        self.failed & self.visible() == 0
    }

    /// Settles a version as committed.
    pub(crate) fn settle(&mut self, version: u8) {
        self.is_wrong |= self.visible() & snapshot(version) == 0;
    }

    /// One line about it, for traces.
    pub(crate) fn told_shortly(&self) -> String {
        let refs: Vec<String> = self
            .refs
            .iter()
            .map(|register| match register {
                Some(register) => format!("tip {:?} seq {} epoch {}", register.tip(), register.seq(), register.epoch()),
                None => "none".to_owned(),
            })
            .collect();
        let collection = &self.collection;
        format!(
            "refs [{}] collection {:?} {} present {:b} lists {:?} on their way {} told {:b} failed {:b}",
            refs.join("; "),
            collection.phase(),
            collection.epoch(),
            self.present,
            self.lists,
            self.wire.len(),
            self.told,
            self.failed
        )
    }
}
