//! Conformance suite for stores: the contract as tests. One line runs it for your store.
//!
//! ```
//! use actum::store::MemoryStore;
//!
//! // An expression that creates an empty store and a value that must live as long as the store.
//! actum::conformance!(memory, || async { (MemoryStore::new(), ()) });
//! ```
//!
//! Attributes before the name are added to each test, for example for a store that needs a server:
//!
//! ```
//! # use actum::store::MemoryStore;
//! actum::conformance!(#[ignore = "needs a server"] remote, || async { (MemoryStore::new(), ()) });
//! ```
//!
//! The macro expands to a module with one `#[tokio::test]` for each case. The crate that uses it
//! needs tokio with `macros` and `rt-multi-thread`. Clones of the store must share one log.
//! `MemoryStore` is the executable specification.

pub mod appends;
pub mod claims;
pub mod commands;
pub mod documents;
pub mod isolation;
pub mod leases;
pub mod lists;
pub mod open_work;
pub mod order;
pub mod pages;
pub mod parked;
pub mod payloads;
pub mod projections;
pub mod reads;
pub mod snapshots;
pub mod versions;

use uuid::Uuid;

use crate::command::{CommandKey, Committed};
use crate::event::{ExpectedVersion, NewEvent, StreamId};
use crate::store::contract::{Append, AppendOutcome, EventStore, NotCommitted};

/// Runs the conformance suite for a store; see [`crate::testing::conformance`].
#[macro_export]
macro_rules! conformance {
    ($(#[$attribute:meta])* $store:ident, $open:expr) => {
        $crate::conformance! { [$(#[$attribute])*] $store, $open,
            appends: versions_and_positions_are_dense_from_one,
            appends: expected_versions_are_checked,
            appends: an_append_is_stored_whole_or_not_at_all,
            appends: appends_of_one_call_see_one_another,
            appends: a_chained_append_falls_with_the_one_before_it,
            appends: a_chained_append_follows_only_its_own_stream,
            appends: a_call_that_begins_chained_is_not_chained_to_another_callers,
            appends: an_append_of_nothing_answers_where_its_stream_is,
            appends: a_version_that_no_stream_can_have_is_a_conflict,
            appends: the_same_events_sent_again_are_answered_as_they_were,
            claims: a_claim_has_one_holder,
            claims: a_release_by_its_holder_frees_a_claim,
            claims: claims_of_one_append_are_carried_out_in_order,
            claims: appends_of_one_call_see_one_anothers_claims,
            claims: claims_stand_and_fall_with_their_events,
            claims: an_append_that_took_a_claim_is_recognised_when_sent_again,
            claims: of_concurrent_takers_one_gets_the_claim,
            claims: claims_are_kept_byte_by_byte_or_not_at_all,
            commands: a_command_id_acts_once,
            commands: a_command_id_acts_once_within_one_call,
            commands: a_command_id_acts_once_among_concurrent_callers,
            commands: a_command_is_known_beside_an_append_that_moves_its_stream,
            commands: a_known_command_is_answered_and_its_neighbours_are_stored,
            commands: another_request_with_the_same_id_is_refused,
            commands: a_command_without_events_is_remembered,
            commands: a_refused_append_keeps_no_command_id,
            commands: old_command_ids_are_forgotten_the_oldest_first,
            commands: a_confirmation_tells_stale_and_done_from_current,
            documents: documents_and_checkpoint_are_stored_together,
            documents: documents_are_loaded_with_their_checkpoint_from_one_snapshot,
            documents: a_writer_with_an_old_checkpoint_stores_nothing,
            documents: the_same_batch_sent_again_changes_nothing,
            documents: of_concurrent_writers_one_continues,
            documents: partitions_advance_independently,
            documents: a_replay_moves_the_checkpoint_back_and_fences_the_owner,
            lists: documents_are_deleted_with_the_checkpoint,
            lists: documents_are_listed_by_the_bytes_of_their_keys,
            lists: documents_are_listed_by_prefix_in_pages,
            lists: a_page_of_large_documents_ends_early,
            lists: a_page_names_the_parked_keys_and_the_checkpoints,
            isolation: a_bad_append_fails_alone,
            isolation: a_doubled_event_id_fails_its_own_append,
            leases: everything_of_a_process_is_renewed_in_one_call,
            leases: a_lease_has_one_owner_at_a_time,
            leases: an_owner_may_take_its_lease_again,
            leases: an_expired_lease_is_taken_over_and_its_old_token_is_void,
            leases: an_expired_lease_that_nobody_took_is_not_lost,
            leases: a_released_lease_is_free_at_once,
            leases: of_concurrent_acquirers_one_is_granted_the_lease,
            leases: whoever_takes_over_finds_all_that_was_stored_before,
            leases: holders_are_those_who_hold_a_lease_now,
            leases: members_are_known_until_they_leave_or_expire,
            open_work: open_work_is_stored_with_the_checkpoint,
            open_work: open_work_is_postponed_and_closed_with_the_checkpoint,
            open_work: changes_of_open_work_are_applied_once,
            open_work: open_work_belongs_to_its_partition,
            open_work: a_page_of_open_work_is_bounded_by_number_and_bytes,
            open_work: open_work_of_any_number_and_text_is_kept,
            open_work: the_command_keys_of_open_work_are_not_forgotten,
            order: positions_are_dense_under_concurrent_writers_and_refusals,
            order: an_acknowledged_append_comes_before_a_later_one,
            parked: parked_keys_are_stored_with_the_checkpoint,
            parked: a_parked_key_keeps_its_queue_in_order_until_it_is_released,
            parked: a_step_is_taken_once_though_the_checkpoint_stands,
            parked: no_event_waits_behind_a_key_that_is_not_parked,
            parked: skipped_events_are_kept_for_good,
            parked: a_request_is_for_the_event_that_the_key_stands_at,
            parked: a_reason_of_any_length_and_text_is_kept,
            parked: parked_keys_are_found_by_model_and_key,
            parked: a_page_of_parked_keys_counts_what_waits,
            parked: many_changes_in_a_batch_are_as_good_as_one_at_a_time,
            pages: a_page_of_events_is_bounded_by_bytes,
            pages: a_filtered_page_that_is_full_of_bytes_loses_nothing,
            pages: a_page_of_picked_events_is_bounded_by_bytes,
            payloads: payloads_come_back_byte_for_byte,
            payloads: no_call_changes_an_event,
            projections: a_store_opens_projections_or_refuses_them_by_name,
            reads: pages_follow_one_another_without_loss,
            reads: a_filtered_read_says_how_far_it_looked,
            reads: the_head_is_known_and_wakes_who_waits,
            reads: events_are_found_by_their_positions,
            snapshots: the_newest_snapshot_is_kept,
            versions: the_first_version_of_a_name_serves,
            versions: of_concurrent_first_versions_one_serves,
            versions: a_switch_is_from_the_version_that_serves_to_a_known_one,
            versions: of_concurrent_switches_and_drops_one_wins,
            versions: a_dropped_version_leaves_nothing_of_itself,
            versions: the_version_that_serves_is_not_dropped,
            versions: a_retired_version_can_be_dropped,
            versions: texts_beside_a_version_go_with_it,
        }
    };
    ($attributes:tt $store:ident, $open:expr, $($topic:ident: $case:ident,)*) => {
        mod $store {
            #[allow(unused_imports)]
            use super::*;
            $($crate::conformance! { $attributes $topic: $case, $open })*
        }
    };
    ([$(#[$attribute:meta])*] $topic:ident: $case:ident, $open:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $case() {
            let (store, _keep) = ($open)().await;
            $crate::testing::conformance::$topic::$case(store).await;
        }
    };
}

/// Returns the stream `ledger-{id}`.
fn stream(id: &str) -> StreamId {
    StreamId::new("ledger", id).unwrap()
}

/// Returns an event with this payload.
fn event(payload: &str) -> NewEvent {
    NewEvent {
        event_id: Uuid::now_v7(),
        event_type: "Booked".into(),
        schema_version: 1,
        payload: payload.into(),
        metadata: "{}".into(),
    }
}

/// Returns an append of `count` events to `ledger-{id}`.
fn append(id: &str, expected: ExpectedVersion, count: usize) -> Append {
    let events = (0..count).map(|n| event(&n.to_string())).collect();
    Append { stream: stream(id), expected, events, command: None, claims: vec![], chained: false }
}

/// Returns an append with a command id.
fn keyed(id: &str, count: usize, key: &str) -> Append {
    let key = CommandKey::new(key, b"request").unwrap();
    Append { command: Some(key), ..append(id, ExpectedVersion::Any, count) }
}

async fn one(store: &impl EventStore, append: Append) -> AppendOutcome {
    let mut outcomes = store.append(vec![append]).await;
    assert_eq!(outcomes.len(), 1, "one outcome for each append");
    outcomes.remove(0)
}

#[track_caller]
fn committed(outcome: AppendOutcome) -> Committed {
    match outcome {
        AppendOutcome::Committed(committed) => committed,
        other => panic!("not committed: {other:?}"),
    }
}

#[track_caller]
fn refused(outcome: AppendOutcome) -> NotCommitted {
    match outcome {
        AppendOutcome::NotCommitted(reason) => reason,
        other => panic!("not refused: {other:?}"),
    }
}
