//! Deferred commands: accepted durably, executed once and in order, across crashes and owners.
//! `bank/later.rs` tests them over HTTP, with kills and callbacks.

use std::time::{Duration, Instant};

use actum::store::PageLimit;
use actum::{
    CommandError, CommandOptions, CommandState, Committed, ExpectedVersion, GlobalPosition,
    ReadError, StreamId, StreamVersion,
};
use uuid::Uuid;

use super::{concluded, counted, keyed, later, start};
use crate::support::counter::{Ask, Counted, Counter};
use crate::support::place::{Place, on_every_place};

async fn a_deferred_command_is_executed_once_and_its_status_has_the_outcome(place: Place) {
    let app = start(&place).await;
    let id = later(&app, "a", Ask::Add(5), "k1").await;
    let CommandState::Committed { version, position } = concluded(&app, id).await else {
        panic!("not committed")
    };
    assert_eq!(version, StreamVersion(1));
    assert_eq!(counted(&app, "a").await, [Counted::Added(5)]);
    assert_eq!(later(&app, "a", Ask::Add(5), "k1").await, id, "the same key is the same command");
    let ask = Ask::Add(6);
    let reused = app.execute_later::<Counter>("a", &ask, keyed("k1", &ask), None).await;
    assert!(matches!(reused, Err(CommandError::KeyReused { ref id }) if id == "k1"), "{reused:?}");
    // A client that waits for the outcome gets the same one.
    let options = keyed("k1", &Ask::Add(5));
    let again = app.execute_with::<Counter>("a", Ask::Add(5), options).await.unwrap();
    assert_eq!(again, Committed::new(version, position, true));
    let status = app.command(&id.to_string()).await.unwrap();
    assert_eq!((&*status.aggregate_type, &*status.aggregate_id), ("counter", "a"));
    assert_eq!(counted(&app, "a").await.len(), 1);
    app.shutdown().await;
}

async fn a_command_that_was_carried_out_before_is_told_as_it_was(place: Place) {
    let app = start(&place).await;
    let options = keyed("k", &Ask::Add(1));
    let first = app.execute_with::<Counter>("a", Ask::Add(1), options).await.unwrap();
    let id = later(&app, "a", Ask::Add(1), "k").await;
    let Committed { version, position, .. } = first;
    assert_eq!(concluded(&app, id).await, CommandState::Committed { version, position });
    assert_eq!(counted(&app, "a").await.len(), 1);
    app.shutdown().await;
}

async fn a_refused_or_failed_command_reports_it_and_delays_no_other(place: Place) {
    let app = start(&place).await;
    let refused = later(&app, "a", Ask::Add(-1), "refused").await;
    let failed = later(&app, "a", Ask::Panic, "failed").await;
    let after = later(&app, "a", Ask::Add(2), "after").await;
    let CommandState::Refused { code, detail } = concluded(&app, refused).await else {
        panic!("not refused")
    };
    assert_eq!((&*code, &*detail), ("below_zero", "-1 is below zero"));
    let CommandState::Failed { reason } = concluded(&app, failed).await else {
        panic!("did not fail")
    };
    assert!(!reason.contains("asked to panic"), "internals are told: {reason}");
    assert!(matches!(concluded(&app, after).await, CommandState::Committed { .. }));
    let expected = ExpectedVersion::Exact(StreamVersion(7));
    let options = CommandOptions { expected, ..CommandOptions::default() };
    let conflict = app.execute_later::<Counter>("a", &Ask::Add(1), options, None).await.unwrap();
    let CommandState::Refused { code, .. } = concluded(&app, conflict).await else {
        panic!("not refused")
    };
    assert_eq!(code, "precondition_failed");
    assert_eq!(counted(&app, "a").await, [Counted::Added(2)]);
    app.shutdown().await;
}

async fn commands_of_one_aggregate_keep_their_order(place: Place) {
    let app = start(&place).await;
    let mut ids = Vec::new();
    for n in 0..40 {
        for counter in ["a", "b", "c"] {
            ids.push(later(&app, counter, Ask::Add(n), &format!("{counter}{n}")).await);
        }
    }
    for id in ids {
        assert!(matches!(concluded(&app, id).await, CommandState::Committed { .. }));
    }
    for counter in ["a", "b", "c"] {
        let expected: Vec<_> = (0..40).map(Counted::Added).collect();
        assert_eq!(counted(&app, counter).await, expected);
    }
    app.shutdown().await;
}

/// The application is dropped at any moment, with commands under way.
async fn accepted_commands_are_executed_after_the_next_start(place: Place) {
    let mut ids = Vec::new();
    for round in 0..5_u64 {
        let app = start(&place).await;
        for n in 0..20 {
            ids.push(
                later(&app, &format!("{}", n % 3), Ask::Add(1), &format!("{round}-{n}")).await,
            );
        }
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        if round % 2 == 0 {
            app.shutdown().await;
        }
        drop(app);
    }
    let app = start(&place).await;
    for id in ids {
        assert!(matches!(concluded(&app, id).await, CommandState::Committed { .. }));
    }
    let mut all = 0;
    for counter in ["0", "1", "2"] {
        all += counted(&app, counter).await.len();
    }
    assert_eq!(all, 100, "a command too many or too few");
    app.shutdown().await;
}

async fn the_history_of_a_deferred_command_is_in_the_log_to_its_end(place: Place) {
    let app = start(&place).await;
    let id = later(&app, "a", Ask::Add(1), "k").await;
    let CommandState::Committed { version, position } = concluded(&app, id).await else {
        panic!("not committed")
    };
    let stream = StreamId::new("command", &id.to_string()).unwrap();
    let limit = PageLimit::events(9);
    let events = app.store().read_stream(&stream, StreamVersion::ZERO, limit).await.unwrap();
    let types: Vec<_> = events.iter().map(|event| &*event.event_type).collect();
    assert_eq!(types, ["Accepted", "Committed"]);
    let outcome: serde_json::Value = serde_json::from_str(&events[1].payload).unwrap();
    assert_eq!(outcome, serde_json::json!({ "version": version, "position": position }));
    assert_eq!(version, StreamVersion(1));
    assert!(position > GlobalPosition::ZERO && position < events[1].position);
    app.shutdown().await;
}

async fn a_command_that_cannot_be_accepted_is_refused_at_once(place: Place) {
    let app = start(&place).await;
    let none = app.command(&Uuid::nil().to_string()).await;
    assert!(matches!(none, Err(ReadError::NotFound { .. })), "{none:?}");
    let options = CommandOptions::default();
    let invalid = app.execute_later::<Counter>("a b", &Ask::Nothing, options, None).await;
    assert!(matches!(invalid, Err(CommandError::InvalidId(_))), "{invalid:?}");
    app.shutdown().await;
    let options = CommandOptions::default();
    let stopping = app.execute_later::<Counter>("a", &Ask::Nothing, options, None).await;
    assert!(matches!(stopping, Err(CommandError::Stopping)), "{stopping:?}");
}

async fn a_command_past_its_deadline_is_not_decided(place: Place) {
    let app = start(&place).await;
    let late = CommandOptions { decide_by: Some(Instant::now()), ..CommandOptions::default() };
    let late = app.execute_with::<Counter>("a", Ask::Add(1), late).await;
    assert!(matches!(late, Err(CommandError::Overloaded(_))), "{late:?}");
    let by = Some(Instant::now() + Duration::from_secs(600));
    let early = CommandOptions { decide_by: by, ..CommandOptions::default() };
    app.execute_with::<Counter>("a", Ask::Add(2), early).await.unwrap();
    assert_eq!(counted(&app, "a").await, [Counted::Added(2)]);
    app.shutdown().await;
}

on_every_place!(
    a_deferred_command_is_executed_once_and_its_status_has_the_outcome,
    a_command_that_was_carried_out_before_is_told_as_it_was,
    a_refused_or_failed_command_reports_it_and_delays_no_other,
    commands_of_one_aggregate_keep_their_order,
    accepted_commands_are_executed_after_the_next_start,
    the_history_of_a_deferred_command_is_in_the_log_to_its_end,
    a_command_that_cannot_be_accepted_is_refused_at_once,
    a_command_past_its_deadline_is_not_decided,
);

/// Both accept commands and one owns the executor. When the owner is gone the other one continues.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn of_two_processes_one_carries_out_and_the_other_takes_over() {
    let place = Place::postgres().await;
    let (first, second) = (start(&place).await, start(&place).await);
    let mut ids = Vec::new();
    for n in 0..30 {
        for (name, app) in [("first", &first), ("second", &second)] {
            ids.push(later(app, "a", Ask::Add(1), &format!("{name}-{n}")).await);
        }
    }
    for id in &ids {
        assert!(matches!(concluded(&second, *id).await, CommandState::Committed { .. }));
    }
    // The owner was dropped without a shutdown, so its lease has to expire.
    drop(first);
    let id = later(&second, "a", Ask::Add(1), "last").await;
    assert!(matches!(concluded(&second, id).await, CommandState::Committed { .. }));
    assert_eq!(counted(&second, "a").await.len(), 61);
    second.shutdown().await;
}
