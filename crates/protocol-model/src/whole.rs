//! The scenarios, in which nothing is lost as long as all rules hold.

use std::time::Instant;

use stateright::{Checker, Model as _, Path, UniformChooser};

use crate::collector::Collector;
use crate::mover::{Kind, Mover, Target};
use crate::scenario::{Act, Event, Removed, Scenario};
use crate::settler::Settler;
use crate::support::count;
use crate::world::{Actor, MAIN, Names, SIDE, Trouble, World};
use crate::writer::{Plan, Takes, Writer};

const X: Names = 1;
const Y: Names = 2;

fn commits(branch: u8, chunks: Names) -> Actor {
    Actor::Writer(Writer::new(Plan::commit(branch, chunks)))
}

fn takes(from: Takes) -> Actor {
    Actor::Writer(Writer::new(Plan { takes: from, ..Plan::commit(MAIN, 0) }))
}

fn collects(name: char) -> Actor {
    Actor::Collector(Collector::new(name, 1))
}

fn moves(kind: Kind, branch: u8, target: Target) -> Actor {
    Actor::Mover(Mover::new(kind, branch, target))
}

const ONE_OF_EACH: Trouble = Trouble { crashes: 1, silences: 1, copies: 1, quits: 1 };
const QUIET: Trouble = Trouble { crashes: 0, silences: 0, copies: 0, quits: 0 };

/// A writer needs a chunk that is garbage.
pub(crate) fn beside() -> Scenario {
    Scenario::new(0).garbage(X).with(commits(MAIN, X)).with(collects('a')).trouble(Trouble { crashes: 1, silences: 1, ..QUIET })
}

/// The same with two collectors, which race and take over.
pub(crate) fn two_collectors() -> Scenario {
    Scenario::new(0).garbage(X).with(commits(MAIN, X)).with(collects('a')).with(collects('b'))
}

/// A writer does not write a chunk that its base has, and the branch is moved away from that.
pub(crate) fn thrifty() -> Scenario {
    let writer = Actor::Writer(Writer::new(Plan { is_thrifty: true, ..Plan::commit(MAIN, X) }));
    Scenario::new(0).second(X).with(writer).with(collects('a')).acts(&[Act::Reset(MAIN, 0), Act::Expire(MAIN)])
}

/// A writer copies from another branch, which is deleted and expires.
pub(crate) fn copied() -> Scenario {
    let writer = takes(Takes::Copy(SIDE));
    Scenario::new(0).side(Some(Y)).with(writer).with(collects('a')).acts(&[Act::Delete(SIDE), Act::Expire(SIDE)])
}

/// A writer merges another branch, which is deleted and expires.
pub(crate) fn merged() -> Scenario {
    let writer = takes(Takes::Merge(SIDE));
    Scenario::new(0).side(Some(0)).with(writer).with(collects('a')).acts(&[Act::Delete(SIDE), Act::Expire(SIDE)])
}

/// The same with a chunk on the other branch.
pub(crate) fn borrowed() -> Scenario {
    let writer = takes(Takes::Merge(SIDE));
    Scenario::new(0).side(Some(Y)).with(writer).with(collects('a')).acts(&[Act::Delete(SIDE), Act::Expire(SIDE)])
}

/// A branch is made at a version that leaves `main`.
pub(crate) fn created() -> Scenario {
    let creator = moves(Kind::Create, SIDE, Target::Version(1));
    let acts = [Act::Reset(MAIN, 0), Act::Expire(MAIN)];
    Scenario::new(0).second(X).side(None).with(creator).with(collects('a')).acts(&acts).trouble(Trouble {
        crashes: 1,
        silences: 1,
        ..QUIET
    })
}

/// A branch is made during a collection and committed to.
pub(crate) fn created_beside() -> Scenario {
    let creator = moves(Kind::Create, SIDE, Target::Version(0));
    Scenario::new(0).garbage(X).side(None).with(creator).with(commits(SIDE, X)).with(collects('a'))
}

/// The same from a version that leaves `main`, with garbage so that there is something to collect.
pub(crate) fn created_from_left() -> Scenario {
    let creator = moves(Kind::Create, SIDE, Target::Version(1));
    let acts = [Act::Reset(MAIN, 0), Act::Expire(MAIN)];
    Scenario::new(0).second(X).garbage(Y).side(None).with(creator).with(collects('a')).acts(&acts)
}

/// `main` is reset to what another writer commits to a branch, which lets it go again.
pub(crate) fn raced_from_left() -> Scenario {
    let mover = moves(Kind::Change, MAIN, Target::TipOf(SIDE));
    let acts = [Act::Reset(SIDE, 0), Act::Expire(SIDE)];
    Scenario::new(0).side_at_main().with(commits(SIDE, X)).with(mover).with(collects('a')).acts(&acts)
}

/// Two writers of one branch; an answer is lost.
pub(crate) fn raced() -> Scenario {
    let trouble = Trouble { crashes: 1, silences: 1, copies: 1, quits: 1 };
    Scenario::new(0).with(commits(MAIN, X)).with(commits(MAIN, Y)).trouble(trouble)
}

/// A commit without an answer, and a reset.
pub(crate) fn moved_away() -> Scenario {
    let mover = moves(Kind::Change, MAIN, Target::Version(0));
    Scenario::new(0).second(0).with(commits(MAIN, X)).with(mover).trouble(Trouble { crashes: 1, silences: 2, copies: 1, quits: 1 })
}

/// A commit without an answer.
pub(crate) fn unanswered() -> Scenario {
    Scenario::new(0).with(commits(MAIN, X)).trouble(Trouble { crashes: 0, silences: 2, copies: 2, quits: 1 })
}

/// Somebody else settles a commit, perhaps while its writer still works on it.
pub(crate) fn settled() -> Scenario {
    let trouble = Trouble { crashes: 1, silences: 1, copies: 1, quits: 1 };
    Scenario::new(0).with(commits(MAIN, X)).with(commits(MAIN, Y)).with(Actor::Settler(Settler::new())).trouble(trouble)
}

/// Two writers who need the same chunk, a collector, crashes, lost answers and doubled requests.
pub(crate) fn crowded(trouble: Trouble) -> Scenario {
    Scenario::new(0).garbage(X).with(commits(MAIN, X)).with(commits(MAIN, X | Y)).with(collects('a')).trouble(trouble)
}

/// The same with two collectors that race and take over.
fn overcrowded() -> Scenario {
    crowded(ONE_OF_EACH).with(collects('b'))
}

/// Two collectors whose changes of the register arrive late.
fn slow_collectors(trouble: Trouble) -> Scenario {
    let slow = |name| Actor::Collector(Collector::new(name, 1).slow());
    Scenario::new(0).garbage(X).with(commits(MAIN, X)).with(slow('a')).with(slow('b')).trouble(trouble)
}

/// A branch is deleted, made again from what is left of it, and committed to.
fn made_again(trouble: Trouble) -> Scenario {
    let delete = moves(Kind::Change, SIDE, Target::Nothing);
    let create = moves(Kind::Create, SIDE, Target::Version(1));
    let acts = [Act::Expire(SIDE)];
    Scenario::new(0).side(Some(X)).with(delete).with(create).with(commits(SIDE, X)).with(collects('a')).acts(&acts).trouble(trouble)
}

/// Two collections in a row beside a writer.
fn twice() -> Scenario {
    let collector = Actor::Collector(Collector::new('a', 2));
    Scenario::new(0).garbage(X).with(commits(MAIN, X)).with(commits(MAIN, X)).with(collector).trouble(ONE_OF_EACH)
}

/// A merge of a branch that is deleted and expires, beside another writer.
fn merged_beside(trouble: Trouble) -> Scenario {
    borrowed().with(commits(MAIN, Y)).trouble(trouble)
}

/// A copy from a tag that collections do not raise, which is then deleted, and a reset to it.
pub(crate) fn tagged() -> Scenario {
    let mover = moves(Kind::Change, MAIN, Target::TipOf(SIDE));
    let acts = [Act::Delete(SIDE), Act::Expire(SIDE)];
    Scenario::new(0).side(Some(Y)).with(takes(Takes::Copy(SIDE))).with(mover).with(collects('a')).acts(&acts)
}

/// A way from the first state, a step a line.
pub(crate) fn traced(path: Path<World, Event>) -> String {
    let steps = path.into_vec().into_iter();
    let lines =
        steps.map(|(world, event)| format!("      {}\n  {}", world.told_shortly(), event.map_or(String::new(), |e| format!("{e:?}"))));
    lines.collect::<Vec<_>>().join("\n")
}

/// Everybody at once.
fn everything() -> Scenario {
    let merger = takes(Takes::Merge(SIDE));
    let delete = moves(Kind::Change, SIDE, Target::Nothing);
    let create = moves(Kind::Create, SIDE, Target::Version(1));
    let reset = moves(Kind::Change, MAIN, Target::TipOf(SIDE));
    let acts = [Act::Expire(SIDE), Act::Expire(MAIN), Act::Reset(MAIN, 0)];
    let twice = |name| Actor::Collector(Collector::new(name, 2).slow());
    let writers = Scenario::new(0).side(Some(X)).garbage(Y).with(commits(MAIN, X | Y)).with(commits(SIDE, Y)).with(merger);
    let movers = writers.with(delete).with(create).with(reset).with(Actor::Settler(Settler::new()));
    movers.with(twice('a')).with(twice('b')).acts(&acts).trouble(Trouble { crashes: 2, silences: 3, copies: 2, quits: 1 })
}

/// Says what was seen, and fails with the way to the first state in which something is lost.
fn judge(name: &str, checker: &impl Checker<Scenario>, began: Instant) -> usize {
    let (unique, all, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("{name}: {unique} states, {all} generated, depth {depth}, {:.1?}", began.elapsed());
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        panic!("{name}: not true: {property}\n{}", traced(path));
    }
    unique
}

/// Tries everything; nothing is lost. Returns how many states there are.
fn is_clean(name: &str, scenario: Scenario) -> usize {
    let began = Instant::now();
    judge(name, &scenario.checker().threads(2).spawn_bfs().join(), began)
}

/// Goes many random ways to their ends, through this many states together; nothing is lost.
fn is_clean_on_walks(name: &str, scenario: Scenario, states: usize) {
    let began = Instant::now();
    let checker = scenario.checker().threads(2).target_state_count(states);
    judge(name, &checker.spawn_simulation(7, UniformChooser).join(), began);
}

#[test]
fn nothing_is_lost_in_small_scenarios() {
    for (name, scenario) in [
        ("beside", beside()),
        ("two collectors", two_collectors()),
        ("thrifty", thrifty()),
        ("copied", copied()),
        ("merged", merged()),
        ("borrowed", borrowed()),
        ("created", created()),
        ("created beside", created_beside()),
        ("created from left", created_from_left()),
        ("raced from left", raced_from_left()),
        ("raced", raced()),
        ("moved away", moved_away()),
        ("unanswered", unanswered()),
        ("settled", settled()),
        ("tagged", tagged()),
        ("two writers", crowded(Trouble { copies: 0, quits: 0, ..ONE_OF_EACH })),
    ] {
        is_clean(name, scenario);
    }
}

/// Two writers, one of which merges, and a collector; two collectors whose requests are late; a branch that is deleted and made again; each
/// with a crash and a lost answer at any moment: every state there is.
#[test]
fn nothing_is_lost_in_millions_of_states() {
    let trouble = Trouble { copies: 0, quits: 0, ..ONE_OF_EACH };
    let states = is_clean("a merge beside a commit", merged_beside(trouble));
    assert!(states >= 1_000_000, "{states}");
    is_clean("slow collectors", slow_collectors(trouble));
    is_clean("a branch that is made again", made_again(trouble));
}

/// Larger ones, which have too many states to try all.
#[test]
fn nothing_is_lost_on_random_walks() {
    let states = usize::try_from(count("FIRN_MODEL_STATES", 100_000, 2_000_000)).unwrap();
    for (name, scenario) in [
        ("crowded", crowded(Trouble { crashes: 2, silences: 2, ..ONE_OF_EACH })),
        ("overcrowded", overcrowded()),
        ("slow collectors", slow_collectors(ONE_OF_EACH)),
        ("made again", made_again(ONE_OF_EACH)),
        ("twice", twice()),
        ("merged beside", merged_beside(ONE_OF_EACH)),
        ("raced from left", raced_from_left().trouble(ONE_OF_EACH)),
        ("settled", settled().with(collects('a'))),
        ("everything", everything()),
    ] {
        is_clean_on_walks(name, scenario, states);
    }
}

/// Rules that the engine keeps for other reasons: without them nothing is lost either.
#[test]
fn some_rules_are_not_necessary() {
    // Decision 0080: tags are raised, so that sessions that copy from them need not look through old lists.
    is_clean("tags are not raised", tagged().without(None, Some(Removed::RaiseTags)));
    // What is read after the state of a session is of no earlier epoch than the collection that the state says has finished.
    is_clean("what is copied from lowers nothing", copied().without(None, Some(Removed::LowerWhenCopying)));
    is_clean("what is merged lowers nothing", borrowed().without(None, Some(Removed::LowerWhenCopying)));
}
