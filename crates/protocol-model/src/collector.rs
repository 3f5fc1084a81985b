//! A collector: it marks, fences, raises the refs, sweeps, and takes over what another one has left.

use std::sync::Arc;

use firnline::protocol::{CollectionState, Phase, RefRegister, Rule};

use crate::scenario::{Off, Removed};
use crate::world::{Actor, Message, Names, SIDE, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Start,
    TakeOver,
    Mark,
    List,
    WriteFirst,
    Fence,
    ListRefs,
    Raise,
    Raising(u8),
    WriteFinal,
    Sweep,
    Remove,
    Wait,
    Forget,
    End,
}

/// A change of the register whose answer has not come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Advance {
    next: Arc<CollectionState>,
    then: At,
    /// Whether the answer is still waited for; else the register is read.
    is_awaited: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Collector {
    name: char,
    at: At,
    /// How many collections it begins.
    turns: u8,
    /// Whether its changes of the register can be late.
    is_slow: bool,
    held: Option<Arc<CollectionState>>,
    advance: Option<Advance>,
    marked: Names,
    condemned: Names,
    /// The list of what is condemned.
    list: String,
    /// The refs to be raised.
    todo: u8,
    expected: Option<Arc<RefRegister>>,
    has_lease: bool,
    /// It has taken over a sweep, and removes what it finds itself without raising refs: what must not be.
    derives: bool,
}

impl Collector {
    pub(crate) const fn new(name: char, turns: u8) -> Self {
        Self {
            name,
            at: At::Start,
            turns,
            is_slow: false,
            held: None,
            advance: None,
            marked: 0,
            condemned: 0,
            list: String::new(),
            todo: 0,
            expected: None,
            has_lease: true,
            derives: false,
        }
    }

    /// One whose changes of the register arrive late.
    pub(crate) const fn slow(mut self) -> Self {
        self.is_slow = true;
        self
    }

    fn nonce(&self) -> String {
        if Rule::OWN_LISTS.holds() { self.name.to_string() } else { "s".to_owned() }
    }

    /// Its lease ends, if it is this owner.
    pub(crate) fn end_lease(&mut self, owner: Option<&str>) {
        if owner == Some(self.nonce().as_str()) {
            self.has_lease = false;
        }
    }

    pub(crate) fn choices(&self, world: &World) -> u8 {
        match (&self.advance, self.at) {
            (Some(advance), _) => u8::from(!advance.is_awaited),
            (None, At::Raise) => u8::try_from(world.refs.len()).unwrap(),
            (None, At::Wait) => {
                let is_late = world.wire.iter().any(|message| matches!(message, Message::Remove(_)));
                u8::from(!is_late || !Rule::LATE_REMOVALS.holds())
            }
            _ => 1,
        }
    }

    pub(crate) fn step(mut self, world: &mut World, me: u8, choice: u8, off: Off) -> Option<Actor> {
        if let Some(Advance { next, then, .. }) = self.advance.take() {
            return Some(self.ask(world, me, next, then));
        }
        match self.at {
            At::Start => self.start(world),
            At::TakeOver => self.take_over(world, me, off),
            At::Mark => self.mark(world, off),
            At::List => {
                self.condemned = world.present & !self.marked;
                self.at = if self.condemned == 0 { At::End } else { At::WriteFirst };
            }
            At::WriteFirst => self.write_first(world),
            At::Fence => self.fence(world, me, off),
            At::ListRefs => {
                let is_listed = |at: &usize| Rule::LIST_AGAIN.holds() || *at == 0;
                let there = world.refs.iter().enumerate().filter(|(at, register)| register.is_some() && is_listed(at));
                self.todo = there.fold(0, |todo, (at, _)| todo | 1 << at);
                self.at = At::Raise;
            }
            At::Raise => self.raise(world, me, choice, off)?,
            At::Raising(branch) => self.send_raise(world, branch)?,
            At::WriteFinal => {
                let epoch = self.held.as_ref()?.epoch();
                self.list = format!("{epoch}{}f", self.nonce());
                world.lists.insert(self.list.clone(), self.condemned);
                self.at = At::Sweep;
            }
            At::Sweep => {
                let next = self.held.as_ref()?.sweeping(&self.list);
                self.advance(world, me, next, At::Remove);
            }
            At::Remove => {
                if !self.has_lease && Rule::LEASE.holds() {
                    return Some(Actor::Gone);
                }
                let names = world.lists.get(&self.list).copied().unwrap_or_default();
                world.wire.push(Message::Remove(names));
                self.at = At::Wait;
            }
            At::Wait => {
                let next = self.held.as_ref()?.done();
                self.advance(world, me, next, At::Forget);
            }
            At::Forget => self.forget(world)?,
            At::End => return Some(Actor::Gone),
        }
        let is_over = self.at == At::End && self.advance.is_none();
        Some(if is_over { self.end() } else { Actor::Collector(self) })
    }

    fn end(mut self) -> Actor {
        if self.turns <= 1 {
            return Actor::Gone;
        }
        let fresh = Self { is_slow: self.is_slow, ..Self::new(self.name, self.turns - 1) };
        self = fresh;
        Actor::Collector(self)
    }

    fn start(&mut self, world: &World) {
        self.held = Some(Arc::clone(&world.collection));
        self.at = if world.collection.phase() == Phase::Idle { At::Mark } else { At::TakeOver };
    }

    fn take_over(&mut self, world: &mut World, me: u8, off: Off) {
        let Some(held) = self.held.clone() else { return };
        if held.phase() == Phase::Fence {
            self.advance(world, me, held.given_up(), At::Mark);
            return;
        }
        self.list = held.list().unwrap_or_default().to_owned();
        self.derives = off.is(Removed::OnlyEnd);
        // What is left of its list is garbage for the next collection.
        let then = if self.derives { At::Mark } else { At::Wait };
        self.advance(world, me, held.taken_over(&self.nonce()), then);
    }

    /// Reads all refs and what they lead to.
    fn mark(&mut self, world: &mut World, off: Off) {
        if off.is(Removed::EpochAtFence) && !self.derives {
            // The epoch begins here, while nothing is under way yet.
            let Some(held) = self.held.clone() else { return };
            let next = Arc::new(held.fenced("m", "m").given_up());
            if !world.advance(&held, &next) {
                self.at = At::End;
                return;
            }
            self.held = Some(next);
        }
        self.marked = world.refs.iter().flatten().fold(0, |names, register| names | world.reached(register));
        self.at = At::List;
    }

    fn write_first(&mut self, world: &mut World) {
        let epoch = self.held.as_ref().map_or(0, |held| held.epoch());
        self.list = format!("{}{}p", epoch + 1, self.nonce());
        world.lists.insert(self.list.clone(), self.condemned);
        self.at = if self.derives { At::Remove } else { At::Fence };
    }

    fn fence(&mut self, world: &mut World, me: u8, off: Off) {
        let Some(held) = self.held.clone() else { return };
        let next = if off.is(Removed::EpochAtFence) {
            let _same_epoch = Rule::EPOCH_AT_FENCE.without();
            held.fenced(&self.nonce(), &self.list)
        } else {
            held.fenced(&self.nonce(), &self.list)
        };
        self.advance(world, me, next, At::ListRefs);
    }

    /// The epoch to which refs are raised: that of the collection, whichever it is in the register.
    fn epoch(&self) -> u64 {
        let fence = self.held.as_ref().map_or(0, |held| held.epoch());
        fence + u64::from(!Rule::EPOCH_AT_FENCE.holds())
    }

    fn raise(&mut self, world: &mut World, me: u8, branch: u8, off: Off) -> Option<()> {
        if self.todo == 0 {
            // Everything was raised and marked.
            (branch == 0).then_some(())?;
            self.condemn(world, me);
            return Some(());
        }
        (self.todo & 1 << branch != 0).then_some(())?;
        let now = world.read(branch)?;
        let is_tag = off.is(Removed::RaiseTags) && branch == SIDE && now.tip().is_some();
        let is_due = now.raised(self.epoch()).is_some() && Rule::RAISE.holds() && !is_tag;
        if is_due {
            self.expected = Some(now);
            self.at = At::Raising(branch);
            return Some(());
        }
        self.todo &= !(1 << branch);
        if Rule::MARK_AGAIN.holds() {
            self.marked |= world.reached(&now);
        }
        if self.todo == 0 {
            self.condemn(world, me);
        }
        Some(())
    }

    fn send_raise(&mut self, world: &mut World, branch: u8) -> Option<()> {
        let expected = self.expected.take()?;
        let next = Arc::new(expected.raised(self.epoch())?);
        if world.replace(branch, &expected, &next) && Rule::MARK_RAISED.holds() && Rule::MARK_AGAIN.holds() {
            self.marked |= world.reached(&next);
        }
        self.at = At::Raise;
        Some(())
    }

    /// What is left when all refs were raised.
    fn condemn(&mut self, world: &mut World, me: u8) {
        let left = self.condemned & !self.marked;
        if left == 0 {
            if let Some(next) = self.held.as_ref().map(|held| held.given_up()) {
                self.advance(world, me, next, At::End);
            }
            return;
        }
        self.at = if left == self.condemned { At::Sweep } else { At::WriteFinal };
        self.condemned = left;
    }

    fn forget(&mut self, world: &mut World) -> Option<()> {
        let held = self.held.as_ref()?;
        let kept: Vec<&str> = held.finished_lists().collect();
        let epoch = held.epoch();
        world.lists.retain(|list, _| {
            let of = list.chars().next().and_then(|digit| digit.to_digit(10)).map_or(0, u64::from);
            kept.contains(&list.as_str()) || of > epoch
        });
        self.at = At::End;
        Some(())
    }

    /// Replaces the register, and goes on at `then` when that has happened.
    fn advance(&mut self, world: &mut World, me: u8, next: CollectionState, then: At) {
        let (Some(expected), next) = (self.held.clone(), Arc::new(next)) else { return };
        if self.is_slow {
            world.wire.push(Message::Advance { expected, next: Arc::clone(&next), from: me, is_awaited: true });
            self.advance = Some(Advance { next, then, is_awaited: true });
            return;
        }
        self.at = if world.advance(&expected, &next) { then } else { At::End };
        self.held = Some(next);
    }

    /// The answer to a change of the register; `None` when it did not come in time.
    pub(crate) fn answered(mut self, is_done: Option<bool>) -> Actor {
        if let Some(advance) = &mut self.advance {
            if is_done == Some(true) {
                (self.held, self.at) = (Some(Arc::clone(&advance.next)), advance.then);
                self.advance = None;
            } else {
                advance.is_awaited = false;
            }
        }
        if self.at == At::End { self.end() } else { Actor::Collector(self) }
    }

    /// Reads the register to find out whether a change of it has happened.
    fn ask(mut self, world: &mut World, me: u8, next: Arc<CollectionState>, then: At) -> Actor {
        if world.collection == next {
            (self.held, self.at) = (Some(next), then);
        } else if Some(&world.collection) == self.held.as_ref() {
            self.advance(world, me, (*next).clone(), then);
        } else {
            self.at = At::End;
        }
        if self.at == At::End && self.advance.is_none() { self.end() } else { Actor::Collector(self) }
    }
}
