//! Who works on a repository at once, what may go wrong, and the model that tries every order.

use std::collections::BTreeMap;
use std::sync::Arc;

use firnline::protocol::{CollectionState, RefRegister, Rule, is_vouched};
use stateright::{Model, Property};

use crate::settler::Settler;
use crate::world::{Actor, Message, Names, Trouble, World};

/// A rule that the engine cannot switch off, because it is an order of requests or a part of how a replace is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The epoch begins at the fence, not when the collector begins to mark.
    EpochAtFence,
    /// Who takes over a sweep ends it, and removes nothing.
    OnlyEnd,
    /// The register of a new ref exists before the state is read.
    PlaceBeforeState,
    /// A ref is made in two writes.
    CreateInTwoSteps,
    /// The state is read before the refs that keep a target.
    StateBeforeRefs,
    /// Sequence numbers never repeat.
    SeqNeverRepeats,
    /// A commit that is behind the tip has happened.
    SettleByHistory,
    /// A commit that a recorded move came from has happened.
    SettleByMoves,
    /// A replace whose ref has not changed is sent again, not lost.
    SendAgain,
    /// Who says that a commit is lost replaces the ref first.
    Burn,
    /// Tags are raised as branches are.
    RaiseTags,
    /// A session knows of no later collection than the refs that it reads after it was opened.
    LowerWhenCopying,
}

/// What is switched off: at most one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Off(pub(crate) Option<Removed>);

impl Off {
    pub(crate) fn is(self, rule: Removed) -> bool {
        self.0 == Some(rule)
    }

    /// What a settlement makes of a ref, with the number that it has without the rule.
    pub(crate) fn numbered(self, before: &RefRegister, next: RefRegister) -> RefRegister {
        if self.is(Removed::SeqNeverRepeats) { next.numbered(before.seq()) } else { next }
    }
}

/// Something that others do, in one step and once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A branch is pointed at a version that some ref keeps.
    Reset(u8, u8),
    Delete(u8),
    /// What only recorded moves of a branch keep expires. The moves stay.
    Expire(u8),
}

/// A few processes on a small repository.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) first: World,
    pub(crate) acts: Vec<Act>,
    pub(crate) off: Off,
    pub(crate) rule: Option<Rule>,
}

impl Scenario {
    /// A repository with a version of the chunks `content` on `main`, and nobody at work.
    pub(crate) fn new(content: Names) -> Self {
        let mut first = World {
            versions: Vec::new(),
            present: 0,
            refs: vec![None],
            collection: Arc::new(CollectionState::absent()),
            lists: BTreeMap::new(),
            wire: Vec::new(),
            actors: Vec::new(),
            trouble: Trouble::default(),
            acts: 0,
            told: 0,
            failed: 0,
            is_wrong: false,
            expired: 0,
            sent: None,
        };
        let version = first.add_version(&[], content).unwrap();
        first.present = first.version(version).closure;
        first.refs[0] = Some(Arc::new(RefRegister::placeholder().committed(version)));
        Self { first, acts: Vec::new(), off: Off::default(), rule: None }
    }

    /// Another branch: without a version there is room for one to be made.
    pub(crate) fn side(mut self, content: Option<Names>) -> Self {
        let version = content.map(|content| self.first.add_version(&[], content).unwrap());
        let register = version.map(|version| Arc::new(RefRegister::placeholder().committed(version)));
        self.first.present |= version.map_or(0, |version| self.first.version(version).closure);
        self.first.refs.push(register);
        self
    }

    /// Another branch at the version of `main`.
    pub(crate) fn side_at_main(mut self) -> Self {
        let register = self.first.refs[0].clone();
        self.first.refs.push(register);
        self
    }

    /// A second version on `main`, on top of the first.
    pub(crate) fn second(mut self, chunks: Names) -> Self {
        let register = self.first.refs[0].clone().unwrap();
        let version = self.first.add_version(&[register.tip().unwrap()], chunks).unwrap();
        self.first.present |= self.first.version(version).closure;
        self.first.refs[0] = Some(Arc::new(register.committed(version)));
        self
    }

    /// Objects that nothing leads to.
    pub(crate) fn garbage(mut self, names: Names) -> Self {
        self.first.present |= names;
        self
    }

    pub(crate) fn with(mut self, actor: Actor) -> Self {
        self.first.actors.push(actor);
        self
    }

    pub(crate) fn acts(mut self, acts: &[Act]) -> Self {
        self.acts = acts.to_vec();
        self
    }

    pub(crate) fn trouble(mut self, trouble: Trouble) -> Self {
        self.first.trouble = trouble;
        self
    }

    pub(crate) fn without(mut self, rule: Option<Rule>, off: Option<Removed>) -> Self {
        (self.rule, self.off) = (rule, Off(off));
        self
    }

    fn act(world: &mut World, act: Act) -> Option<()> {
        match act {
            Act::Reset(branch, version) => {
                let now = world.read(branch).filter(|now| now.tip().is_some())?;
                let state = Arc::clone(&world.collection);
                let (is_kept, by_raised) = world.kept(version, state.epoch());
                if !is_kept || !is_vouched(&state, by_raised) {
                    return None;
                }
                world.replace(branch, &now, &Arc::new(now.moved(now.epoch(), Some(version))));
            }
            Act::Delete(branch) => {
                let now = world.read(branch).filter(|now| now.tip().is_some())?;
                world.replace(branch, &now, &Arc::new(now.moved(now.epoch(), None)));
            }
            Act::Expire(branch) => {
                let now = world.read(branch).filter(|now| now.moves().next().is_some())?;
                world.expire(&now);
            }
        }
        Some(())
    }

    /// A message arrives; its sender is answered if it still waits.
    fn arrive(world: &mut World, at: usize) {
        match world.wire.remove(at) {
            Message::Remove(names) => world.present &= !names,
            Message::Replace { branch, expected, next, from, is_awaited } => {
                let is_done = world.replace(branch, &expected, &next);
                if is_awaited {
                    answer(world, from, Some(is_done));
                }
            }
            Message::Advance { expected, next, from, is_awaited } => {
                let is_done = world.advance(&expected, &next);
                if is_awaited {
                    answer(world, from, Some(is_done));
                }
            }
        }
    }
}

fn answer(world: &mut World, to: u8, is_done: Option<bool>) {
    let place = usize::from(to);
    let after = match std::mem::replace(&mut world.actors[place], Actor::Gone) {
        Actor::Writer(writer) => writer.answered(world, is_done),
        Actor::Mover(mover) => mover.answered(is_done),
        Actor::Collector(collector) => collector.answered(is_done),
        other => other,
    };
    world.actors[place] = after;
}

/// Nobody waits any more for the answers to what `from` has sent.
fn abandon(world: &mut World, of: u8) -> bool {
    let mut was_awaited = false;
    for message in &mut world.wire {
        if let Message::Replace { from, is_awaited, .. } | Message::Advance { from, is_awaited, .. } = message
            && *from == of
        {
            was_awaited |= std::mem::take(is_awaited);
        }
    }
    was_awaited
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A process takes its next step, of which there may be several.
    Step(u8, u8),
    Arrive(u8),
    /// A message is doubled by something on the way; nobody waits for the answer to the second one.
    Double(u8),
    /// No answer comes in time.
    Silence(u8),
    Crash(u8),
    Other(u8),
}

impl Model for Scenario {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![self.first.clone()]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        let _off = self.rule.map(Rule::without);
        for (me, actor) in (0_u8..).zip(&world.actors) {
            let choices = match actor {
                Actor::Writer(writer) => writer.choices(world),
                Actor::Mover(mover) => mover.choices(),
                Actor::Settler(_) => Settler::choices(world),
                Actor::Collector(collector) => collector.choices(world),
                Actor::Gone => continue,
            };
            events.extend((0..choices).map(|choice| Event::Step(me, choice)));
            if world.trouble.crashes > 0 {
                events.push(Event::Crash(me));
            }
        }
        for (at, message) in (0_u8..).zip(&world.wire) {
            events.push(Event::Arrive(at));
            if world.trouble.copies > 0 {
                events.push(Event::Double(at));
            }
            let is_awaited = matches!(message, Message::Replace { is_awaited: true, .. } | Message::Advance { is_awaited: true, .. });
            if world.trouble.silences > 0 && is_awaited {
                events.push(Event::Silence(at));
            }
        }
        let open = (0_u8..).zip(&self.acts).filter(|(at, _)| world.acts & 1 << at == 0);
        events.extend(open.map(|(at, _)| Event::Other(at)));
    }

    fn next_state(&self, before: &World, event: Event) -> Option<World> {
        let _off = self.rule.map(Rule::without);
        let mut world = before.clone();
        match event {
            Event::Step(me, choice) => {
                let actor = std::mem::replace(&mut world.actors[usize::from(me)], Actor::Gone);
                let after = match actor {
                    Actor::Writer(writer) => writer.step(&mut world, me, choice, self.off)?,
                    Actor::Mover(mover) => mover.step(&mut world, me, self.off)?,
                    Actor::Settler(settler) => settler.step(&mut world, self.off)?,
                    Actor::Collector(collector) => collector.step(&mut world, me, choice, self.off)?,
                    Actor::Gone => return None,
                };
                world.actors[usize::from(me)] = after;
            }
            Event::Arrive(at) => Self::arrive(&mut world, usize::from(at)),
            Event::Double(at) => {
                let mut copy = world.wire[usize::from(at)].clone();
                if let Message::Replace { is_awaited, .. } | Message::Advance { is_awaited, .. } = &mut copy {
                    *is_awaited = false;
                }
                world.wire.push(copy);
                world.trouble.copies -= 1;
            }
            Event::Silence(at) => {
                let (Message::Replace { from, .. } | Message::Advance { from, .. }) = world.wire[usize::from(at)] else { return None };
                abandon(&mut world, from);
                answer(&mut world, from, None);
                world.trouble.silences -= 1;
            }
            Event::Crash(me) => {
                abandon(&mut world, me);
                world.actors[usize::from(me)] = Actor::Gone;
                world.trouble.crashes -= 1;
            }
            Event::Other(at) => {
                Self::act(&mut world, self.acts[usize::from(at)])?;
                world.acts |= 1 << at;
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing that a ref leads to is lost", |_, world: &World| world.nothing_is_lost()),
            Property::always("success is true", |_, world: &World| world.success_is_true()),
            Property::always("failure is true", |_, world: &World| world.failure_is_true()),
            Property::always("settlement is true", |_, world: &World| !world.is_wrong),
        ]
    }
}
