//! The conformance suite of stores: each promise of `workflow_runtime::store`, tested on each store.

#[macro_use]
extern crate workflow_harness;

mod changes;
mod claims;
mod continuation;
mod counts;
mod creation;
mod deliveries;
mod deployments;
mod effects;
mod fixture;
mod generations;
mod listing;
mod messages;
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
#[allow(dead_code, reason = "other suites use the rest of it")]
#[cfg(unix)]
#[path = "../shared/proxy.rs"]
mod proxy;
mod recoveries;
mod removal;
mod repair;
mod roster;
mod streams;
mod tokens;
#[cfg(unix)]
mod transactions;
mod turns;
#[cfg(unix)]
mod verified;
#[cfg(unix)]
mod verified_changes;
#[cfg(unix)]
mod versions;
#[cfg(unix)]
mod workers;

#[cfg(unix)]
mod sqlite_faults;
#[cfg(unix)]
mod sqlite_files;

/// Registers cases for a store.
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

/// Registers each list of cases for the stores that must pass it.
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
        a_run_created_with_a_first_turn_is_owned_by_its_engine,
        a_run_created_for_other_engines_is_unowned_and_due,
        an_id_is_taken_once,
        a_start_that_is_sent_again_returns_the_same_run,
        a_start_for_other_engines_that_is_sent_again_leaves_one_inbox_message,
        two_starts_with_one_id_in_a_group_create_one_run,
        a_run_created_for_later_is_due_after_its_start,
        a_missing_or_started_run_cannot_be_started,
        two_starts_of_a_created_run_in_a_group_start_it_once,
        only_the_executing_engine_creates_runs_that_it_owns,
        stored_values_are_read_unchanged,
        a_new_run_replaces_a_failed_or_cancelled_run,
        a_run_that_has_not_failed_is_not_replaced,
        a_run_that_cannot_be_created_replaces_nothing;
    roster:
        a_worker_is_listed_until_it_leaves,
        unused_catalogues_are_removed_by_the_next_worker,
        an_engine_that_is_registered_again_does_not_make_its_deployment_the_latest,
        deployments_with_one_catalogue_share_a_copy;
    repair:
        a_failed_run_is_reopened_as_a_new_generation,
        a_reopened_run_has_the_state_and_the_attributes_of_its_new_generation,
        a_run_that_has_not_failed_is_not_reopened,
        descendants_are_reopened_with_their_run_or_nothing_is,
        a_reopened_run_receives_payloads_in_place_of_messages,
        inbox_messages_after_the_end_are_not_delivered_to_the_next_generation,
        a_fork_begins_with_the_journal_of_another_run,
        one_stuck_run_is_made_due;
    turns:
        a_turn_appends_a_row_changes_the_run_and_updates_the_inbox,
        a_turn_with_only_a_row_changes_nothing_else,
        each_change_of_a_row_replaces_its_error,
        times_of_start_and_end_are_set_once,
        a_turn_under_another_fence_is_refused,
        a_turn_that_leaves_a_gap_is_refused,
        another_turn_at_an_existing_index_is_refused,
        a_turn_that_is_sent_again_changes_nothing,
        a_turn_that_is_sent_again_is_recognised_after_a_change_of_owner,
        a_refused_turn_changes_nothing,
        a_refused_write_does_not_affect_its_group,
        a_recorded_turn_does_not_affect_its_group,
        groups_of_different_runs_can_be_committed_at_once,
        writes_of_one_group_take_effect_in_order,
        a_turn_without_a_row_is_fenced_too,
        a_journal_is_read_from_an_index;
    messages:
        an_inbox_message_is_stored_and_counted_and_makes_its_run_due,
        an_inbox_message_to_an_unknown_run_is_refused,
        an_inbox_message_with_a_known_key_is_dropped,
        an_inbox_message_does_not_make_a_finished_or_stuck_run_due,
        inbox_messages_are_read_oldest_first_and_their_numbers_are_not_reused,
        a_turn_delivers_inbox_messages_of_its_own_run_only,
        a_returned_inbox_message_does_not_make_its_run_due,
        an_inbox_message_is_returned_once_if_the_turn_is_sent_again,
        a_run_is_released_unless_an_inbox_message_arrived,
        a_run_is_released_by_its_owner_only,
        news_lists_each_owned_run_with_new_inbox_messages_once,
        an_inbox_message_can_make_a_stuck_run_due,
        an_unread_inbox_message_is_kept_and_does_not_make_its_run_due;
    claims:
        a_claim_takes_due_runs_of_known_workflows,
        a_claim_takes_the_longest_overdue_of_each_workflow_first_and_no_more_than_its_limit,
        each_workflow_gets_a_share_of_a_claim,
        a_claimed_run_is_not_claimed_again,
        a_claim_that_is_sent_again_after_a_doubt_returns_the_owned_runs,
        only_the_executing_engine_claims,
        finished_and_stuck_runs_are_not_claimed,
        a_stuck_run_becomes_due_for_another_build,
        a_run_that_a_build_has_refused_is_left_to_other_builds,
        refused_runs_can_be_claimed_only_if_they_require_the_deployment,
        the_next_due_time_is_that_of_the_earliest_claimable_run,
        unknown_workflows_are_listed_once;
    deployments:
        a_run_that_requires_a_deployment_is_claimed_by_it_only,
        runs_are_released_from_a_deployment,
        a_drained_deployment_claims_only_runs_that_require_it,
        one_deployment_is_promoted;
    recoveries:
        claims_from_dead_engines_are_counted,
        the_count_of_recoveries_is_reset_when_the_journal_grows,
        the_claim_of_a_released_run_is_no_recovery,
        an_orphaned_run_keeps_its_due_time,
        an_orphaned_run_with_inbox_messages_is_due_at_once,
        the_count_of_recoveries_is_reset_when_a_stuck_run_becomes_due;
    tokens:
        a_payload_for_a_token_reaches_its_operation,
        a_delivery_with_a_known_key_is_dropped,
        a_token_belongs_to_one_operation_at_a_time,
        a_disposed_token_is_reported_and_can_be_opened_again,
        the_end_of_a_run_finishes_its_tokens,
        a_payload_is_held_for_a_hook_that_is_opened_in_time,
        a_run_accepts_payloads_before_it_opens_the_hook,
        payloads_for_a_reserved_token_stay_with_the_run_when_it_ends,
        a_stale_owner_opens_and_closes_nothing,
        a_token_for_one_payload_is_taken_by_the_first,
        a_token_for_one_payload_accepts_the_first_of_a_group,
        a_token_for_one_payload_is_taken_by_a_held_payload,
        the_open_tokens_of_a_run_and_its_descendants_are_listed;
    deliveries:
        a_delivery_is_accepted_once_even_if_another_run_has_the_token,
        another_payload_under_a_key_is_refused,
        the_key_of_a_delivery_is_kept_for_a_time_after_the_end_of_its_run,
        a_reopened_run_keeps_the_keys_of_its_deliveries,
        a_refused_delivery_is_not_recorded,
        the_key_of_a_held_payload_is_kept_while_it_is_held,
        the_key_of_a_held_payload_is_kept_as_long_as_the_run_that_received_it,
        the_key_of_a_payload_for_a_reserved_token_is_kept_as_long_as_the_run,
        a_key_that_is_kept_from_its_delivery_expires_while_the_run_continues,
        of_concurrent_deliveries_with_one_key_one_arrives,
        expired_deliveries_are_removed_in_batches,
        keys_of_inbox_messages_are_removed_unless_they_are_lasting,
        a_resumption_is_for_one_suspension,
        a_suspension_that_is_opened_again_accepts_another_resumption,
        the_end_of_a_run_finishes_open_and_disposed_tokens;
    notices:
        a_claimed_notice_is_free_again_when_its_claim_expires,
        a_claim_takes_notices_of_its_statuses_only,
        a_claim_of_notices_whose_answer_was_lost_is_answered_again,
        a_returned_notice_is_free_at_the_time_of_its_return,
        a_notice_is_free_when_its_owner_has_lost_the_right_to_execute,
        unclaimed_notices_are_dropped_after_seven_days;
    effects:
        a_child_is_due_at_once_and_its_end_is_sent_to_its_parent,
        the_end_of_a_detached_child_is_not_sent_to_its_parent,
        a_turn_that_is_sent_again_starts_its_children_once,
        a_child_whose_id_is_taken_is_refused_with_an_inbox_message,
        a_parent_waits_for_a_child_that_exists_already,
        a_child_can_attach_to_an_existing_run,
        a_child_attaches_only_to_a_started_run_of_its_workflow_and_arguments,
        a_child_that_the_same_operation_has_started_is_attached_whatever_its_workflow,
        a_child_has_a_depth_and_attributes,
        watches_and_messages_for_another_token_do_not_reach_a_run,
        a_watcher_gets_the_end_of_a_run_if_it_watches_before_or_after_it,
        messages_reach_runs_that_have_not_ended,
        state_and_attributes_are_those_of_the_last_turn,
        a_status_with_callbacks_has_a_notice_until_it_is_acknowledged,
        a_run_that_no_longer_watches_gets_no_end;
    continuation:
        a_continuation_changes_the_deployment_that_the_run_requires,
        the_next_generation_is_unowned_and_due,
        a_turn_that_is_sent_again_continues_once,
        turns_of_the_previous_generation_are_refused,
        open_tokens_keep_undelivered_payloads_for_the_next_generation,
        payloads_for_closed_operations_move_to_the_next_generation_with_their_token,
        watches_do_not_carry_over_to_the_next_generation;
    streams:
        chunks_are_numbered_in_their_order,
        chunks_are_read_from_an_index,
        a_page_of_large_chunks_is_short,
        a_chunk_that_is_sent_again_is_stored_once,
        a_stale_owner_writes_nothing,
        a_closed_stream_accepts_no_chunks,
        a_full_stream_can_still_be_closed,
        the_end_of_a_run_ends_its_streams,
        chunks_of_a_failed_attempt_are_discarded,
        chunks_of_an_attempt_whose_engine_died_are_discarded,
        an_attempt_writes_to_the_stream_of_another_run;
    listing:
        runs_are_listed_latest_first_and_page_by_page,
        a_filter_combines_all_its_conditions,
        runs_that_match_a_filter_are_counted_by_status,
        failing_runs_are_listed_by_their_first_failure,
        a_page_continues_after_the_last_one_when_runs_are_created_and_deleted,
        special_characters_in_a_filter_are_no_patterns,
        runs_created_in_one_millisecond_are_each_listed_once;
    counts:
        the_first_counts_of_an_hour_are_kept,
        counts_are_read_from_an_hour_on,
        a_record_of_counts_removes_those_of_earlier_hours,
        a_record_of_counts_does_not_affect_its_group;
    removal:
        a_finished_run_is_deleted_with_all_its_rows,
        an_unfinished_run_is_not_deleted,
        a_run_that_was_never_due_is_deleted_and_its_watchers_are_notified,
        writes_under_the_fence_of_a_deleted_run_are_refused,
        the_id_of_a_deleted_run_is_free,
        children_stay_when_their_parent_is_deleted,
        chunks_of_a_deleted_run_stay_in_the_streams_of_other_runs,
        a_long_run_is_gone_at_once_and_its_rows_are_removed_in_batches,
        expired_runs_are_removed_in_the_order_of_their_ends,
        a_run_with_an_unacknowledged_notice_does_not_expire,
        held_payloads_are_removed_when_their_time_is_over,
        concurrent_deletes_and_cleanings_do_not_conflict;
    generations:
        the_oldest_generations_of_a_run_are_removed_and_the_others_stay,
        the_rows_of_a_long_generation_are_removed_in_batches_or_with_its_run,
        recoveries_are_kept_when_old_generations_are_removed;
    changes:
        a_change_before_the_first_wait_is_noticed;
}
one_engine {
    claims:
        runs_of_an_engine_can_be_claimed_once_another_engine_executes;
    ownership:
        one_engine_executes_at_a_time,
        writes_of_an_engine_that_lost_the_right_to_execute_are_refused,
        an_engine_that_reacquires_the_right_to_execute_keeps_its_runs,
        an_engine_writes_nothing_after_another_process_took_over,
        a_claim_fences_writes_under_the_previous_claim;
    changes:
        changes_by_another_engine_are_noticed;
}
many_engines {
    workers:
        any_number_of_engines_execute,
        concurrent_workers_claim_disjoint_runs,
        concurrent_workers_claim_disjoint_runs_without_skip_locked,
        a_worker_records_its_host_and_process_id,
        the_runs_of_a_dead_worker_are_claimed_by_others,
        a_locked_run_does_not_block_the_takeover_of_others,
        the_runs_of_a_lease_that_is_given_up_are_free_at_once,
        a_lease_lasts_as_long_as_it_is_renewed,
        a_worker_that_was_declared_dead_loses_its_right_to_execute,
        a_worker_that_cannot_renew_its_lease_loses_its_right_before_it_ends;
    notices:
        two_workers_claim_disjoint_notices;
    notes:
        writes_that_concern_no_other_process_send_no_notification,
        a_group_sends_one_notification,
        an_inbox_message_from_another_process_is_noticed_by_the_owner_only,
        subscribers_are_notified_of_the_end_of_a_run,
        subscribers_are_notified_of_journal_rows,
        a_run_without_subscriptions_is_not_reported,
        subscribers_are_notified_of_chunks,
        a_new_child_run_is_announced_to_all_processes,
        a_store_that_does_not_listen_polls,
        a_new_subscriber_is_notified_of_possible_earlier_rows,
        a_worker_that_lost_its_listening_connection_notifies_of_possible_rows,
        a_worker_that_does_not_listen_notifies_of_rows;
    transactions:
        a_rolled_back_commit_is_sent_again,
        a_commit_that_is_rolled_back_repeatedly_is_an_error,
        a_commit_that_times_out_is_in_doubt,
        a_process_that_stalls_in_a_transaction_does_not_keep_its_locks,
        a_change_without_a_row_is_committed_in_a_transaction,
        statements_need_not_be_prepared;
    deployments:
        a_claim_does_not_read_runs_that_are_bound_elsewhere;
    listing:
        no_list_scans_a_table;
    verified:
        a_worker_that_was_declared_dead_appends_nothing,
        an_append_at_an_existing_index_is_refused_and_does_not_affect_its_group,
        appends_and_other_turns_of_a_group_are_answered_separately,
        a_group_that_was_committed_in_part_can_be_sent_again,
        new_runs_and_turns_of_a_group_are_one_transaction,
        new_runs_beside_a_row_that_is_there_are_created,
        an_end_returns_the_messages_that_the_run_has_not_received,
        heads_are_not_trusted_without_synchronous_commit,
        verified_heads_are_dropped_with_the_listening_connection,
        a_commit_in_doubt_begins_another_round;
    verified_changes:
        a_change_is_written_with_its_row,
        rows_follow_a_change_that_is_no_end,
        an_end_that_concerns_others_reaches_them,
        an_end_that_is_awaited_is_announced,
        an_end_sees_what_was_written_under_the_lock_of_its_run,
        a_change_of_a_run_that_another_worker_holds_is_refused,
        a_worker_that_was_declared_dead_changes_nothing,
        an_end_in_doubt_is_recognised,
        a_change_that_the_database_refuses_writes_nothing_of_its_group,
        changes_look_runs_up_by_their_keys;
    tokens:
        the_open_tokens_of_a_run_are_read_without_the_children_of_others;
}
}

fn main() -> std::process::ExitCode {
    workflow_harness::main(file!())
}
