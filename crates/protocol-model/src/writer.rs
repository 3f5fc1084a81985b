//! A session that commits: opened, drafted, checked against collections, published, settled, rebased.

use std::sync::Arc;

use firnline::protocol::{CollectionState, LookOutcome, RefRegister, Rule, SentOutcome, SentReplace, known_at_open, looked, must_look};

use crate::scenario::{Off, Removed};
use crate::world::{ALL_CHUNKS, Actor, MAIN, Message, Names, World, snapshot};

/// How often a commit that lost a race follows its branch.
const FOLLOWS: u8 = 2;

/// What is taken from another branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Takes {
    Nothing,
    /// Its values are linked under keys of this branch.
    Copy(u8),
    /// It becomes the second parent.
    Merge(u8),
}

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Plan {
    pub(crate) branch: u8,
    /// The chunks that it stages.
    pub(crate) chunks: Names,
    pub(crate) takes: Takes,
    /// The least number of chunks is written: not those that the base has.
    pub(crate) is_thrifty: bool,
}

impl Plan {
    pub(crate) const fn commit(branch: u8, chunks: Names) -> Self {
        Self { branch, chunks, takes: Takes::Nothing, is_thrifty: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Open,
    Take,
    RequireKept,
    Draft,
    Look,
    LookAtParents { condemned: Names },
    Again { known: u64, condemned: Names },
    Sent,
    Ask,
    Follow,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    plan: Plan,
    at: At,
    /// The branch as the session has it.
    seen: Option<Arc<RefRegister>>,
    /// The collection as it was read last.
    state: Option<Arc<CollectionState>>,
    known: u64,
    /// The version that is taken from.
    theirs: Option<u8>,
    /// What is to be sent.
    version: u8,
    /// What was read back.
    held: Names,
    doubt: SentReplace,
    follows: u8,
}

impl Writer {
    pub(crate) const fn new(plan: Plan) -> Self {
        Self {
            plan,
            at: At::Open,
            seen: None,
            state: None,
            known: 0,
            theirs: None,
            version: 0,
            held: 0,
            doubt: SentReplace::new(),
            follows: 0,
        }
    }

    /// How many different steps it can take now.
    pub(crate) fn choices(&self, world: &World) -> u8 {
        match self.at {
            At::Sent => 0,
            At::Open => 2,
            At::Ask => 1 + u8::from(world.trouble.quits > 0),
            At::RequireKept => u8::try_from(world.refs.len()).unwrap(),
            _ => 1,
        }
    }

    pub(crate) fn step(mut self, world: &mut World, me: u8, choice: u8, off: Off) -> Option<Actor> {
        match self.at {
            At::Open => self.open(world, choice),
            At::Take => self.take(world),
            At::RequireKept => self.require_kept(world, choice, off),
            At::Draft => {
                world.present |= self.plan.chunks & !self.spared(world);
                self.draft(world, me)
            }
            At::Look => self.look(world, me),
            At::LookAtParents { condemned } => self.look_at_parents(world, me, condemned),
            At::Again { known, condemned } => {
                world.present |= condemned;
                self.known = self.known.max(known);
                Some(self.ready(world, me))
            }
            At::Ask if choice == 1 => {
                world.trouble.quits -= 1;
                Some(Actor::Gone)
            }
            At::Ask => self.ask(world, me, off),
            At::Follow => {
                self.seen = world.read(self.plan.branch);
                self.follows += 1;
                self.draft(world, me)
            }
            At::Sent => None,
        }
    }

    /// The two requests that open a session, in either order.
    fn open(mut self, world: &World, choice: u8) -> Option<Actor> {
        match choice {
            0 if self.seen.is_none() => self.seen = Some(world.read(self.plan.branch)?),
            1 if self.state.is_none() => self.state = Some(Arc::clone(&world.collection)),
            _ => return None,
        }
        let (Some(seen), Some(state)) = (&self.seen, &self.state) else { return Some(Actor::Writer(self)) };
        if seen.tip().is_none() {
            return Some(Actor::Gone);
        }
        self.known = known_at_open(state, seen.epoch());
        self.state = None;
        self.at = if self.plan.takes == Takes::Nothing { At::Draft } else { At::Take };
        Some(Actor::Writer(self))
    }

    fn take(mut self, world: &World) -> Option<Actor> {
        let (Takes::Copy(from) | Takes::Merge(from)) = self.plan.takes else { return None };
        let Some(theirs) = world.read(from)?.tip() else { return Some(Actor::Gone) };
        (self.theirs, self.at) = (Some(theirs), At::RequireKept);
        Some(Actor::Writer(self))
    }

    /// Some ref keeps it: the lowest epoch of all refs is at most that of this one.
    fn require_kept(mut self, world: &World, choice: u8, off: Off) -> Option<Actor> {
        let theirs = self.theirs?;
        if !world.kept(theirs, 0).0 {
            return (choice == 0).then_some(Actor::Gone);
        }
        let keeper = world.read(choice).filter(|register| world.keeps(register, theirs))?;
        if Rule::KNOW_REFS.holds() && !off.is(Removed::LowerWhenCopying) {
            self.known = self.known.min(keeper.epoch());
        }
        self.at = At::Draft;
        Some(Actor::Writer(self))
    }

    fn borrowed(&self, world: &World) -> Names {
        self.theirs.map_or(0, |theirs| world.version(theirs).content)
    }

    /// What is staged and not written, because the base has it.
    fn spared(&self, world: &World) -> Names {
        let base = self.seen.as_ref().and_then(|seen| seen.tip());
        base.filter(|_| self.plan.is_thrifty).map_or(0, |base| world.version(base).content)
    }

    /// Writes the nodes and the snapshot on top of the branch.
    fn draft(mut self, world: &mut World, me: u8) -> Option<Actor> {
        let Some(tip) = self.seen.as_ref().and_then(|seen| seen.tip()) else { return Some(Actor::Gone) };
        let other = self.theirs.filter(|_| matches!(self.plan.takes, Takes::Merge(_)));
        let parents: Vec<u8> = [tip].into_iter().chain(other).collect();
        self.version = world.add_version(&parents, self.plan.chunks | self.borrowed(world))?;
        world.present |= snapshot(self.version);
        Some(self.ready(world, me))
    }

    /// Looks at collections, or sends at once.
    fn ready(mut self, world: &mut World, me: u8) -> Actor {
        let seen = self.seen.as_ref().expect("the branch was read");
        self.state = None;
        if must_look(seen.epoch(), self.known) {
            self.at = At::Look;
        } else {
            self.doubt = SentReplace::new();
            self.send(world, me);
        }
        Actor::Writer(self)
    }

    fn send(&mut self, world: &mut World, me: u8) {
        let expected = Arc::clone(self.seen.as_ref().expect("the branch was read"));
        let next = Arc::new(expected.committed(self.version));
        world.sent = world.sent.or((self.plan.branch == MAIN).then_some(self.version));
        world.wire.push(Message::Replace { branch: self.plan.branch, expected, next, from: me, is_awaited: true });
        self.at = At::Sent;
    }

    fn touched(&self, world: &World) -> Names {
        let staged = if Rule::COUNT_CHUNKS.holds() { self.plan.chunks | self.borrowed(world) } else { 0 };
        snapshot(self.version) | staged
    }

    fn look(mut self, world: &mut World, me: u8) -> Option<Actor> {
        let state = Arc::clone(&world.collection);
        let listed = match state.lists_since(self.known) {
            Some(lists) => lists.iter().fold(0, |names, list| names | world.lists.get(list).copied().unwrap_or(Names::MAX)),
            None => Names::MAX,
        };
        let condemned = self.touched(world) & listed;
        self.state = Some(state);
        if matches!(self.plan.takes, Takes::Merge(_)) && Rule::OTHER_PARENTS.holds() {
            self.at = At::LookAtParents { condemned };
            return Some(Actor::Writer(self));
        }
        self.follow_look(world, me, condemned, true)
    }

    fn look_at_parents(self, world: &mut World, me: u8, condemned: Names) -> Option<Actor> {
        let epoch = self.state.as_ref()?.epoch();
        let (is_kept, by_raised) = world.kept(self.theirs?, epoch);
        if !is_kept {
            return Some(self.fail(world));
        }
        let is_safe = firnline::protocol::is_vouched(self.state.as_ref()?, by_raised);
        self.follow_look(world, me, condemned, is_safe)
    }

    fn follow_look(mut self, world: &mut World, me: u8, condemned: Names, others: bool) -> Option<Actor> {
        let next = looked(self.state.as_ref()?, condemned != 0, others);
        if let LookOutcome::Clear { known } = next {
            self.known = self.known.max(known);
            self.doubt = SentReplace::new();
            self.state = None;
            self.send(world, me);
            return Some(Actor::Writer(self));
        }
        let lost = condemned & ALL_CHUNKS & !self.held;
        if lost & !world.present != 0 {
            return Some(self.fail(world));
        }
        self.held |= lost;
        self.state = None;
        self.at = match next {
            LookOutcome::WriteAgain { known } => At::Again { known, condemned: condemned | self.held },
            _ => At::Look,
        };
        Some(Actor::Writer(self))
    }

    /// A definite error.
    fn fail(self, world: &mut World) -> Actor {
        world.failed |= snapshot(self.version);
        Actor::Gone
    }

    /// An answer to what was sent; `None` when it did not come in time.
    pub(crate) fn answered(mut self, world: &mut World, is_done: Option<bool>) -> Actor {
        let next = match is_done {
            Some(true) => self.doubt.done(),
            Some(false) => self.doubt.refused(),
            None => self.doubt.unanswered(),
        };
        if next == SentOutcome::Won {
            world.told |= snapshot(self.version);
            return Actor::Gone;
        }
        self.at = At::Ask;
        Actor::Writer(self)
    }

    /// Reads the branch to find out what became of the replace.
    fn ask(mut self, world: &mut World, me: u8, off: Off) -> Option<Actor> {
        let (now, seen) = (world.read(self.plan.branch)?, self.seen.clone()?);
        if now == seen && !off.is(Removed::SendAgain) {
            self.doubt.unchanged();
            self.send(world, me);
            return Some(Actor::Writer(self));
        }
        if holds(world, &now, self.version, seen.seq(), off) {
            world.told |= snapshot(self.version);
            return Some(Actor::Gone);
        }
        if now.shows_the_same(&seen) && now != seen {
            self.seen = Some(now);
            if Rule::SEND_ONCE.holds() {
                world.failed |= snapshot(self.version);
                return self.draft(world, me);
            }
            return Some(self.ready(world, me));
        }
        world.failed |= snapshot(self.version);
        if self.follows >= FOLLOWS {
            return Some(Actor::Gone);
        }
        self.at = At::Follow;
        Some(Actor::Writer(self))
    }
}

/// Whether a ref holds a version, or held it after sequence number `since`.
pub(crate) fn holds(world: &World, register: &RefRegister, version: u8, since: u64, off: Off) -> bool {
    let is_of = |end: u8| {
        let line = world.version(end).line;
        if off.is(Removed::SettleByHistory) { end == version } else { line & snapshot(version) != 0 }
    };
    let tip = register.tip().into_iter().any(is_of);
    tip || !off.is(Removed::SettleByMoves) && register.ends_since(since).any(is_of)
}
