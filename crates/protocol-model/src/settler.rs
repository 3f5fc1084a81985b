//! Somebody who finds out what became of a commit, and knows nothing but its id.

use std::sync::Arc;

use firnline::protocol::RefRegister;

use crate::scenario::{Off, Removed};
use crate::world::{Actor, MAIN, World, snapshot};
use crate::writer::holds;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Settler {
    /// The branch as it was read, if it did not hold the version.
    seen: Option<Arc<RefRegister>>,
}

impl Settler {
    pub(crate) const fn new() -> Self {
        Self { seen: None }
    }

    pub(crate) fn choices(world: &World) -> u8 {
        u8::from(world.sent.is_some())
    }

    pub(crate) fn step(mut self, world: &mut World, off: Off) -> Option<Actor> {
        let version = world.sent?;
        let Some(seen) = self.seen.take() else {
            let now = world.read(MAIN)?;
            if holds(world, &now, version, 0, off) {
                world.settle(version);
                return Some(Actor::Gone);
            }
            if off.is(Removed::Burn) {
                world.failed |= snapshot(version);
                return Some(Actor::Gone);
            }
            return Some(Actor::Settler(Self { seen: Some(now) }));
        };
        let burnt = Arc::new(off.numbered(&seen, seen.successor()));
        if world.replace(MAIN, &seen, &burnt) {
            world.failed |= snapshot(version);
            return Some(Actor::Gone);
        }
        Some(Actor::Settler(self))
    }
}
