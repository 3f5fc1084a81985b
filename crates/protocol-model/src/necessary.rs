//! Each rule is necessary: without it the model finds how something is lost, in a scenario in which nothing is lost with it.

use firnline::protocol::Rule;
use stateright::{Checker as _, HasDiscoveries, Model as _};

use crate::scenario::{Removed, Scenario};
use crate::whole::{
    beside, created, created_beside, created_from_left, merged, moved_away, raced, raced_from_left, settled, thrifty, traced,
    two_collectors, unanswered,
};

const LOST: &str = "nothing that a ref leads to is lost";
const FAILURE: &str = "failure is true";

/// Finds the shortest way in which `property` does not hold, and prints it if `FIRN_MODEL_TRACES` is set.
fn is_found(scenario: Scenario, rule: Option<Rule>, removed: Option<Removed>, property: &'static str) {
    let scenario = scenario.without(rule, removed);
    let checker = scenario.checker().finish_when(HasDiscoveries::AnyOf([property].into())).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let Some(path) = checker.discovery(property) else {
        panic!("{states} states without {rule:?} {removed:?}, and nothing is lost in any of them");
    };
    let steps = path.clone().into_actions();
    let name = rule.map_or_else(|| format!("{removed:?}"), |rule| format!("{rule:?}"));
    println!("without {name}: after {} steps, {states} states, depth {depth}", steps.len());
    if std::env::var_os("FIRN_MODEL_TRACES").is_some() {
        println!("{}", traced(path));
    }
}

macro_rules! necessary {
    ($($test:ident: $rule:expr, in $scenario:expr, $property:ident;)*) => {$(
        #[test]
        fn $test() {
            let (rule, removed) = Switch::from($rule).into_parts();
            is_found($scenario, rule, removed, $property);
        }
    )*};
}

/// A rule of either kind.
enum Switch {
    Rule(Rule),
    Removed(Removed),
}

impl From<Rule> for Switch {
    fn from(rule: Rule) -> Self {
        Self::Rule(rule)
    }
}

impl From<Removed> for Switch {
    fn from(removed: Removed) -> Self {
        Self::Removed(removed)
    }
}

impl Switch {
    fn into_parts(self) -> (Option<Rule>, Option<Removed>) {
        match self {
            Self::Rule(rule) => (Some(rule), None),
            Self::Removed(removed) => (None, Some(removed)),
        }
    }
}

necessary! {
    the_epoch_begins_at_the_fence_and_not_at_the_mark: Removed::EpochAtFence, in beside(), LOST;
    the_epoch_begins_at_the_fence_and_not_at_the_sweep: Rule::EPOCH_AT_FENCE, in beside(), LOST;
    refs_are_raised: Rule::RAISE, in beside(), LOST;
    refs_are_marked_again: Rule::MARK_AGAIN, in beside(), LOST;
    refs_are_listed_again: Rule::LIST_AGAIN, in created_from_left(), LOST;
    no_epoch_is_lowered: Rule::NEVER_LOWER, in two_collectors(), LOST;
    lists_have_names_of_their_own: Rule::OWN_LISTS, in two_collectors(), LOST;
    writers_look_at_lists: Rule::CHECK, in beside(), LOST;
    writers_wait_before_they_write_again: Rule::WAIT_FOR_END, in beside(), LOST;
    writers_know_of_finished_collections: Rule::KNOW_FINISHED, in beside(), LOST;
    sessions_know_no_more_than_their_branch: Rule::KNOW_REFS, in thrifty(), LOST;
    chunks_that_were_not_written_count: Rule::COUNT_CHUNKS, in thrifty(), LOST;
    a_collection_ends_after_late_removals: Rule::LATE_REMOVALS, in beside(), LOST;
    removals_are_sent_under_a_lease: Rule::LEASE, in two_collectors(), LOST;
    a_sweep_that_is_taken_over_is_only_ended: Removed::OnlyEnd, in two_collectors(), LOST;
    a_placeholder_is_there_before_the_state_is_read: Removed::PlaceBeforeState, in created(), LOST;
    a_ref_is_made_in_two_steps: Removed::CreateInTwoSteps, in created(), LOST;
    a_ref_is_made_in_the_present_epoch: Rule::CREATE_IN_EPOCH, in created_beside(), LOST;
    numbers_never_repeat: Removed::SeqNeverRepeats, in settled(), FAILURE;
    a_commit_behind_the_tip_has_happened: Removed::SettleByHistory, in raced(), FAILURE;
    a_commit_that_was_moved_away_has_happened: Removed::SettleByMoves, in moved_away(), FAILURE;
    an_unchanged_ref_tells_nothing: Removed::SendAgain, in unanswered(), FAILURE;
    who_says_lost_replaces_the_ref: Removed::Burn, in settled(), FAILURE;
    a_snapshot_is_sent_once: Rule::SEND_ONCE, in settled(), FAILURE;
    targets_are_kept_by_refs_that_were_raised: Rule::TARGET_RAISED, in raced_from_left(), LOST;
    the_state_is_read_before_the_refs: Removed::StateBeforeRefs, in raced_from_left(), LOST;
    a_ref_that_is_moved_is_raised: Rule::RAISE, in raced_from_left(), LOST;
    a_ref_that_is_moved_is_marked_again: Rule::MARK_AGAIN, in raced_from_left(), LOST;
    what_a_ref_kept_when_it_was_raised_is_marked: Rule::MARK_RAISED, in raced_from_left(), LOST;
    further_parents_are_looked_at: Rule::OTHER_PARENTS, in merged(), LOST;
}
