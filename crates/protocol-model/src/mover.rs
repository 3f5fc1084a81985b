//! A reset, a deletion, or the creation of a branch.

use std::sync::Arc;

use firnline::protocol::{CollectionState, RefRegister, SentOutcome, SentReplace, epoch_of_created, is_vouched};

use crate::scenario::{Off, Removed};
use crate::world::{Actor, Message, World};

/// How often a race is run again.
const ATTEMPTS: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Change,
    Create,
}

/// What is shown afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Nothing,
    Version(u8),
    /// What this branch shows when the call begins.
    TipOf(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Pick,
    Read,
    Place,
    State,
    Vouch,
    Sent,
    Ask,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Mover {
    kind: Kind,
    branch: u8,
    target: Target,
    at: At,
    to: Option<u8>,
    seen: Option<Arc<RefRegister>>,
    state: Option<Arc<CollectionState>>,
    /// What was found when the refs were looked at before the state.
    found: Option<(bool, bool)>,
    next: Option<Arc<RefRegister>>,
    doubt: SentReplace,
    attempts: u8,
}

impl Mover {
    pub(crate) const fn new(kind: Kind, branch: u8, target: Target) -> Self {
        Self {
            kind,
            branch,
            target,
            at: At::Pick,
            to: None,
            seen: None,
            state: None,
            found: None,
            next: None,
            doubt: SentReplace::new(),
            attempts: 0,
        }
    }

    pub(crate) fn choices(&self) -> u8 {
        u8::from(self.at != At::Sent)
    }

    pub(crate) fn step(mut self, world: &mut World, me: u8, off: Off) -> Option<Actor> {
        match self.at {
            At::Pick => self.pick(world, off),
            At::Read => self.read(world, off),
            At::Place => {
                world.refs[usize::from(self.branch)].get_or_insert_with(|| Arc::new(RefRegister::placeholder()));
                self.at = At::Read;
                Some(Actor::Mover(self))
            }
            At::State => {
                self.state = Some(Arc::clone(&world.collection));
                if off.is(Removed::StateBeforeRefs) { self.vouch(world, me, off) } else { Some(self.go_on(At::Vouch)) }
            }
            At::Vouch if off.is(Removed::StateBeforeRefs) => {
                let epoch = world.collection.epoch();
                self.found = Some(world.kept(self.to?, epoch));
                Some(self.go_on(At::State))
            }
            At::Vouch => self.vouch(world, me, off),
            At::Ask => self.ask(world, me),
            At::Sent => None,
        }
    }

    fn go_on(mut self, at: At) -> Actor {
        self.at = at;
        Actor::Mover(self)
    }

    /// Where it begins to look at the target.
    fn first_look(off: Off) -> At {
        if off.is(Removed::StateBeforeRefs) { At::Vouch } else { At::State }
    }

    fn looks_first(&self, off: Off) -> bool {
        self.kind == Kind::Create && (off.is(Removed::PlaceBeforeState) || off.is(Removed::CreateInTwoSteps))
    }

    fn pick(mut self, world: &World, off: Off) -> Option<Actor> {
        self.to = match self.target {
            Target::Nothing => None,
            Target::Version(version) => Some(version),
            Target::TipOf(branch) => Some(world.read(branch)?.tip()?),
        };
        let next = if self.looks_first(off) { At::State } else { At::Read };
        Some(self.go_on(next))
    }

    fn read(mut self, world: &mut World, off: Off) -> Option<Actor> {
        self.seen = world.read(self.branch);
        let Some(seen) = &self.seen else {
            return if self.kind == Kind::Create { Some(self.go_on(At::Place)) } else { Some(Actor::Gone) };
        };
        if seen.tip().is_some() == (self.kind == Kind::Create) {
            return Some(Actor::Gone);
        }
        if self.looks_first(off) {
            // The register is there, and the state that was read before it counts.
            let state = self.state.clone()?;
            let next = Arc::new(seen.moved(epoch_of_created(seen.epoch(), &state), self.to));
            let seen = Arc::clone(seen);
            return Some(if world.replace(self.branch, &seen, &next) { Actor::Gone } else { Actor::Mover(self) });
        }
        Some(self.go_on(Self::first_look(off)))
    }

    fn vouch(mut self, world: &mut World, me: u8, off: Off) -> Option<Actor> {
        let state = self.state.clone()?;
        let (is_kept, by_raised) = match (self.to, self.found.take()) {
            (None, _) => (true, true),
            (_, Some(found)) => found,
            (Some(version), None) => world.kept(version, state.epoch()),
        };
        if !is_kept {
            return Some(Actor::Gone);
        }
        if !is_vouched(&state, by_raised) {
            self.state = None;
            let again = if self.looks_first(off) { At::State } else { At::Read };
            return Some(self.go_on(again));
        }
        if self.looks_first(off) {
            if off.is(Removed::CreateInTwoSteps) && world.refs[usize::from(self.branch)].is_none() {
                let first = RefRegister::placeholder().moved(state.epoch(), self.to);
                self.next = Some(Arc::new(first));
                return Some(self.go_on(At::Ask));
            }
            return Some(self.go_on(At::Read));
        }
        let seen = self.seen.clone()?;
        let epoch = if self.kind == Kind::Create { epoch_of_created(seen.epoch(), &state) } else { seen.epoch() };
        self.next = Some(Arc::new(seen.moved(epoch, self.to)));
        self.doubt = SentReplace::new();
        self.send(world, me)
    }

    fn send(mut self, world: &mut World, me: u8) -> Option<Actor> {
        let (expected, next) = (self.seen.clone()?, self.next.clone()?);
        world.wire.push(Message::Replace { branch: self.branch, expected, next, from: me, is_awaited: true });
        self.state = None;
        self.at = At::Sent;
        Some(Actor::Mover(self))
    }

    pub(crate) fn answered(mut self, is_done: Option<bool>) -> Actor {
        let next = match is_done {
            Some(true) => self.doubt.done(),
            Some(false) => self.doubt.refused(),
            None => self.doubt.unanswered(),
        };
        if next == SentOutcome::Won {
            return Actor::Gone;
        }
        self.at = At::Ask;
        Actor::Mover(self)
    }

    fn ask(mut self, world: &mut World, me: u8) -> Option<Actor> {
        let next = self.next.clone()?;
        let Some(seen) = self.seen.clone() else {
            // The creation in one step, which arrives late.
            world.refs[usize::from(self.branch)].get_or_insert(next);
            return Some(Actor::Gone);
        };
        let now = world.read(self.branch)?;
        if now == seen {
            self.doubt.unchanged();
            return self.send(world, me);
        }
        let ours = next.moves().last();
        if now.moves().any(|m| Some(m) == ours) || self.attempts >= ATTEMPTS {
            return Some(Actor::Gone);
        }
        self.attempts += 1;
        Some(self.go_on(At::Read))
    }
}
