//! What every store promises: each sentence of `workflow_runtime::store`, for each store.

#[macro_use]
extern crate workflow_harness;

mod changes;
mod claims;
mod continuation;
mod creation;
mod deliveries;
mod deployments;
mod effects;
mod fixture;
mod letters;
mod listing;
#[cfg(unix)]
mod notes;
mod notices;
mod ownership;
#[cfg(unix)]
mod postgres_breaks;
#[cfg(unix)]
mod postgres_faults;
#[cfg(unix)]
mod postgres_open;
#[cfg(unix)]
mod postgres_tls;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[cfg(unix)]
#[path = "../shared/proxy.rs"]
mod proxy;
mod recoveries;
mod removal;
mod repair;
mod roster;
#[cfg(unix)]
mod standing;
mod streams;
mod tokens;
#[cfg(unix)]
mod transactions;
mod turns;
#[cfg(unix)]
mod versions;
#[cfg(unix)]
mod workers;

#[cfg(unix)]
mod sqlite_faults;
#[cfg(unix)]
mod sqlite_files;

/// Defines cases for a store.
macro_rules! cases {
    ($store:ident, $needs:ident: $($module:ident: $($case:ident),* $(,)?;)*) => {
        $($(workflow_harness::inventory::submit! {
            workflow_harness::Case {
                module: concat!("stores::", stringify!($store), "::", stringify!($module)),
                name: stringify!($case),
                needs: workflow_harness::Needs::$needs,
                run: || workflow_harness::threads(async {
                    crate::$module::$case(crate::fixture::Fixture::$store()).await;
                }),
            }
        })*)*
    };
}

/// Each list for the stores that it is true of.
macro_rules! conformance {
    (every { $($every:tt)* } one_engine { $($one:tt)* } many_engines { $($many:tt)* }) => {
        cases!(memory, Nothing: $($every)*);
        cases!(sqlite, Nothing: $($every)*);
        cases!(postgres, Postgres: $($every)*);
        cases!(memory, Nothing: $($one)*);
        cases!(sqlite, Nothing: $($one)*);
        cases!(postgres, Postgres: $($many)*);
    };
}

conformance! {
every {
    creation:
        a_run_with_its_first_turn_is_its_engines_own,
        a_run_for_others_is_nobodys_and_due,
        an_id_is_taken_once,
        a_start_that_is_sent_again_is_the_same_run,
        a_start_for_others_that_is_sent_again_leaves_one_letter,
        two_starts_of_one_id_in_a_group_are_one_run,
        a_run_for_later_is_due_once_it_has_begun,
        what_is_not_there_or_was_started_does_not_begin,
        two_begins_of_a_group_are_one,
        only_the_engine_that_executes_creates_runs_of_its_own,
        values_come_back_as_they_were,
        a_run_takes_the_place_of_one_that_has_failed,
        what_has_not_failed_is_not_replaced,
        a_run_that_cannot_be_created_replaces_none;
    roster:
        a_worker_is_listed_until_it_leaves,
        catalogues_that_nobody_needs_are_removed_by_the_next_worker,
        deployments_with_one_catalogue_share_a_copy;
    repair:
        a_run_that_has_ended_goes_on_as_a_new_generation,
        what_has_not_failed_is_not_reopened,
        runs_below_a_run_go_on_with_it_or_none_does,
        letters_that_came_too_late_are_not_the_next_generations,
        a_run_begins_with_the_journal_of_another,
        one_stuck_run_is_made_due;
    turns:
        a_turn_appends_changes_delivers_and_returns,
        what_a_turn_leaves_alone_stays,
        each_change_of_a_row_replaces_its_error,
        a_time_of_start_or_end_is_set_once,
        a_turn_under_another_fence_is_refused,
        a_turn_that_leaves_a_gap_is_refused,
        another_turn_at_an_index_that_is_there_is_refused,
        a_turn_that_is_sent_again_changes_nothing,
        a_turn_that_is_sent_again_is_recognised_after_the_run_changed_hands,
        a_refused_turn_changes_nothing,
        a_refusal_leaves_its_neighbours_alone,
        a_turn_that_is_there_leaves_its_neighbours_alone,
        groups_of_different_runs_can_be_committed_at_once,
        writes_of_one_group_take_effect_in_order,
        a_turn_without_a_row_is_fenced_too,
        a_journal_is_read_from_an_index_on;
    letters:
        a_letter_is_kept_counted_and_pulls_the_wake_up_forward,
        a_letter_to_nobody_is_unknown,
        a_letter_with_a_key_that_was_seen_is_dropped,
        a_run_that_ended_or_is_stuck_keeps_its_letters_and_sleeps_on,
        letters_are_read_oldest_first_and_their_numbers_are_not_used_again,
        a_turn_delivers_letters_of_its_own_run_only,
        a_returned_letter_wakes_nobody,
        a_letter_is_returned_once_if_the_turn_is_sent_again,
        a_run_is_given_back_unless_a_letter_came,
        a_run_is_given_back_by_its_owner_only,
        an_engine_is_told_once_which_of_its_runs_got_letters,
        a_letter_can_make_a_stuck_run_due,
        a_letter_that_nobody_wanted_stays_and_wakes_nobody;
    claims:
        a_claim_takes_what_is_due_and_known,
        a_claim_takes_the_longest_overdue_of_each_workflow_first_and_no_more_than_its_limit,
        each_workflow_has_its_turn,
        a_claimed_run_is_not_claimed_again,
        a_claim_in_doubt_is_answered_with_what_is_held,
        only_the_engine_that_executes_claims,
        what_ended_or_is_stuck_is_not_claimed,
        a_stuck_run_goes_on_with_another_build,
        a_run_that_a_build_has_refused_is_left_to_others,
        refused_runs_can_be_claimed_only_if_they_require_the_deployment,
        the_next_due_is_the_earliest_of_what_can_be_claimed,
        workflows_that_nobody_knows_are_named_once;
    deployments:
        a_run_that_requires_a_deployment_is_claimed_by_it_only,
        runs_are_released_from_a_deployment,
        a_drained_deployment_claims_only_runs_that_require_it,
        one_deployment_is_promoted;
    recoveries:
        the_claims_from_dead_engines_are_counted,
        the_count_starts_again_when_the_journal_grows,
        a_run_that_was_given_back_is_no_recovery,
        an_orphan_is_due_when_it_was,
        an_orphan_with_letters_is_due_at_once,
        a_stuck_run_that_goes_on_is_counted_anew;
    tokens:
        what_is_sent_to_a_token_reaches_its_operation,
        a_delivery_with_a_key_that_was_seen_is_dropped,
        a_token_is_one_runs_at_a_time,
        a_token_that_was_disposed_of_can_be_told_and_taken_again,
        the_end_of_a_run_ends_its_tokens,
        a_payload_is_held_for_a_hook_that_is_opened_in_time,
        a_run_can_take_payloads_before_it_has_come_to_the_hook,
        what_was_held_for_a_run_that_ends_is_its_own,
        a_stale_owner_opens_and_closes_nothing,
        a_token_that_takes_one_letter_is_taken_by_it,
        two_letters_of_a_group_to_a_token_that_takes_one,
        a_letter_that_was_held_for_a_token_that_takes_one,
        the_open_tokens_of_a_run_and_of_its_descendants;
    deliveries:
        a_delivery_is_accepted_once_whoever_has_the_token,
        another_payload_under_a_key_is_refused,
        a_delivery_is_known_for_a_while_after_the_end_of_its_run,
        a_run_that_goes_on_again_knows_what_it_got,
        what_is_refused_is_not_recorded,
        what_is_held_is_known_as_long_as_it_is_held,
        what_was_held_is_known_as_long_as_the_run_that_got_it,
        what_is_promised_is_known_as_long_as_the_run,
        a_key_that_is_there_for_lost_answers_does_not_follow_the_run,
        of_deliveries_with_one_key_at_once_one_arrives,
        deliveries_are_cleaned_away_in_portions,
        keys_of_letters_are_cleaned_away_unless_they_last,
        an_answer_is_for_one_suspension,
        an_answer_that_was_of_no_use_is_not_known,
        a_run_that_has_ended_finishes_its_tokens_however_they_were_disposed_of;
    notices:
        a_notice_is_claimed_once_until_its_time_is_over,
        notices_of_other_statuses_are_left_alone,
        a_claim_of_notices_whose_answer_was_lost_is_answered_again,
        a_notice_that_is_returned_is_free_when_it_says,
        a_notice_is_free_when_its_holder_has_lost_the_right_to_execute,
        notices_that_nobody_claims_are_dropped_after_seven_days;
    effects:
        a_child_is_due_at_once_and_its_end_is_told_to_its_parent,
        a_child_that_nobody_waits_for_tells_nobody,
        a_turn_that_is_sent_again_starts_its_children_once,
        a_child_whose_id_another_run_has_is_refused_by_a_letter,
    a_child_that_is_there_already_is_waited_for, a_child_can_be_a_run_that_exists, a_child_is_not_a_run_of_other_arguments_or_another_workflow_or_one_that_has_not_begun, a_child_that_the_same_operation_has_started_is_taken_whatever_it_is, a_child_has_a_depth_and_attributes, a_run_with_another_token_is_not_meant,
        who_watches_a_run_is_told_of_its_end_before_and_after_it,
        messages_reach_runs_that_have_not_ended,
        state_and_attributes_are_those_of_the_last_turn,
        a_status_that_is_to_be_told_has_a_notice_until_it_is_taken_away,
        who_does_not_wait_any_more_is_not_told;
    continuation:
        a_continuation_changes_the_deployment_that_the_run_requires,
        the_next_generation_is_nobodys_and_due,
        a_turn_that_is_sent_again_continues_once,
        the_generation_before_writes_nothing_more,
        open_tokens_keep_what_was_not_taken,
        letters_for_operations_that_were_closed_go_on_with_their_token,
        what_waited_for_another_run_is_not_told_to_the_next_generation;
    streams:
        chunks_are_numbered_in_their_order,
        chunks_are_read_from_an_index_on,
        a_page_of_large_chunks_is_short,
        a_chunk_that_is_sent_again_is_there_once,
        a_stale_owner_writes_nothing,
        a_stream_that_is_closed_takes_nothing,
        a_full_stream_can_still_be_closed,
        the_end_of_a_run_ends_its_streams,
        what_a_failed_attempt_wrote_is_discarded,
        what_an_attempt_wrote_that_died_is_discarded,
        an_attempt_writes_to_the_stream_of_another_run;
    listing:
        runs_are_listed_latest_first_and_page_by_page,
        runs_are_found_by_everything_that_is_asked_for,
        runs_that_fit_a_filter_are_counted_by_their_status,
        failing_runs_are_listed_by_their_first_failure,
        a_page_begins_where_the_last_one_ended_whatever_came_and_went,
        what_is_asked_for_is_not_taken_for_a_pattern,
        runs_of_one_millisecond_are_listed_each_once;
    removal:
        a_run_that_has_ended_is_deleted_with_all_that_it_had,
        a_run_that_has_not_ended_is_not_deleted,
        a_run_that_was_never_due_is_deleted_and_who_waits_for_it_is_told,
        who_writes_under_the_fence_of_a_deleted_run_is_refused,
        the_id_of_a_deleted_run_is_free,
        children_stay_when_their_parent_is_deleted,
        what_a_deleted_run_wrote_to_streams_of_others_stays_what_it_was,
        a_long_run_is_gone_at_once_and_its_rows_go_little_by_little,
        runs_that_have_expired_are_removed_those_that_ended_first_first,
        a_run_whose_end_is_yet_to_be_told_does_not_expire,
        payloads_are_held_no_longer_than_they_are_to_be,
        who_deletes_a_run_and_who_cleans_it_away_do_not_meet,
        the_oldest_generations_of_a_run_are_removed_and_the_others_stay,
        a_long_generation_goes_little_by_little_and_with_its_run,
        deaths_are_counted_on_when_old_generations_are_removed;
    changes:
        a_change_that_came_before_the_question_is_noticed;
}
one_engine {
    claims:
        what_an_engine_held_can_be_claimed_once_another_one_executes;
    ownership:
        one_engine_executes_at_a_time,
        the_writes_of_an_engine_that_lost_the_right_are_refused,
        an_engine_that_gets_the_right_again_keeps_its_runs,
        an_engine_that_another_process_took_over_from_writes_nothing_more,
        a_claim_ends_what_was_written_under_the_one_before;
    changes:
        what_another_engine_does_is_noticed;
}
many_engines {
    workers:
        any_number_of_engines_execute,
        two_workers_at_once_claim_disjoint_runs,
        they_do_also_without_skip_locked,
        a_worker_says_on_which_machine_it_is_and_as_which_process,
        the_runs_of_a_worker_that_died_are_taken_over,
        a_run_that_is_locked_keeps_no_other_from_being_taken_over,
        a_lease_that_is_given_up_is_free_at_once,
        a_lease_lasts_as_long_as_it_is_renewed,
        a_worker_that_was_taken_for_dead_is_told,
        a_worker_that_is_cut_off_is_told_before_its_lease_ends;
    notices:
        of_two_workers_one_claims_a_notice;
    notes:
        what_concerns_nobody_else_is_told_to_nobody,
        a_group_is_told_once,
        a_letter_from_elsewhere_is_noticed_by_the_holder_only,
        the_end_of_a_run_is_told_to_who_waits_for_it,
        rows_are_told_to_who_reads_the_journal,
        a_run_that_nobody_follows_any_more_is_forgotten,
        chunks_are_told_to_who_reads_them,
        a_child_of_a_run_is_told_to_all,
        what_cannot_be_heard_is_looked_for,
        who_begins_to_follow_is_told_that_there_may_have_been_rows,
        a_worker_that_has_heard_nothing_for_a_while_tells_that_there_may_have_been_rows,
        rows_are_told_by_who_hears_nothing_itself;
    transactions:
        what_the_database_rolls_back_is_sent_again,
        what_it_rolls_back_again_and_again_is_an_error,
        a_statement_that_takes_too_long_is_in_doubt,
        a_process_that_falls_silent_in_a_transaction_keeps_no_run,
        a_change_without_a_row_is_never_a_statement_by_itself,
        statements_need_not_be_prepared;
    deployments:
        a_claim_does_not_read_runs_that_are_bound_elsewhere;
    standing:
        a_worker_that_was_taken_for_dead_appends_nothing,
        a_row_in_the_way_is_seen_and_leaves_its_neighbours_alone,
        rows_and_other_turns_of_a_group_are_each_what_they_are,
        a_part_of_a_group_that_is_refused_is_sent_again,
        where_what_is_acknowledged_can_be_lost_each_run_is_looked_at,
        what_is_known_is_forgotten_with_the_connection_that_listens,
        after_a_doubt_another_round_begins;
}
}

fn main() -> std::process::ExitCode {
    workflow_harness::main(file!())
}
