//! Each rule is needed: without it, the test of its hazard fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::hazards::*;
use super::letting_go::*;
use super::owners::*;
use crate::refs::collection::rules::{GcRule, without};

#[test]
fn without_a_rule_its_hazard_is_noticed() {
    let hazards: &[(GcRule, fn())] = &[
        (GcRule::Raise, raising_a_ref_refuses_a_replace_that_is_on_its_way),
        (GcRule::MarkAgain, refs_are_listed_and_marked_again_behind_the_fence),
        (GcRule::ListAgain, refs_are_listed_and_marked_again_behind_the_fence),
        (GcRule::NeverLower, an_epoch_is_never_lowered),
        (GcRule::EpochAtFence, a_writer_of_a_condemned_name_waits_for_the_end_and_writes_again),
        (GcRule::OwnLists, nobody_writes_the_list_of_another_collector),
        (GcRule::Check, raising_a_ref_refuses_a_replace_that_is_on_its_way),
        (GcRule::WaitForEnd, a_writer_of_a_condemned_name_waits_for_the_end_and_writes_again),
        (GcRule::KnowFinished, a_writer_of_a_condemned_name_waits_for_the_end_and_writes_again),
        (GcRule::KnowRefs, a_session_knows_no_more_than_the_refs_that_it_has_read),
        (GcRule::CountChunks, raising_a_ref_refuses_a_replace_that_is_on_its_way),
        (GcRule::LateRemovals, a_late_removal_arrives_before_the_collection_ends),
        (GcRule::Lease, a_collector_that_was_taken_over_removes_nothing),
        (GcRule::CreateInEpoch, a_branch_that_is_made_during_a_collection_is_of_its_epoch),
        (GcRule::TargetRaised, a_ref_is_pointed_at_nothing_that_only_refs_of_an_earlier_epoch_keep),
        (GcRule::MarkRaised, what_a_branch_kept_when_it_was_raised_is_marked),
        (GcRule::OtherParents, a_merge_looks_at_what_it_merges),
        (GcRule::SendOnce, a_commit_that_was_settled_as_lost_is_not_sent_again),
        (GcRule::Blocks, a_block_of_moves_is_not_written_while_it_is_removed),
    ];
    let mut unnoticed = Vec::new();
    for (rule, hazard) in hazards {
        let _off = without(*rule);
        if catch_unwind(AssertUnwindSafe(hazard)).is_ok() {
            unnoticed.push(rule);
        }
    }
    assert!(unnoticed.is_empty(), "nothing notices that these are missing: {unnoticed:?}");
}
