//! Tests of appends: versions, positions, expected versions, atomicity.

use std::sync::Arc;

use super::{append, committed, one, refused, stream};
use crate::event::ExpectedVersion::{Any, Exact, NoStream, StreamExists};
use crate::event::{GlobalPosition, StreamVersion};
use crate::store::contract::{Append, AppendOutcome, Filter, NotCommitted, PageLimit, Store};

/// Promises 3 and 4 in small.
pub async fn versions_and_positions_are_dense_from_one(store: impl Store) {
    let a = committed(one(&store, append("a", Any, 2)).await);
    let b = committed(one(&store, append("b", Any, 1)).await);
    let c = committed(one(&store, append("a", Any, 1)).await);
    assert_eq!((a.version.0, a.position.0), (2, 2));
    assert_eq!((b.version.0, b.position.0), (1, 3));
    assert_eq!((c.version.0, c.position.0), (3, 4));
    let page =
        store.read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(99)).await.unwrap();
    let placed = page.events.iter().map(|e| (e.position.0, e.stream.to_string(), e.version.0));
    let expected = [(1, "a", 1), (2, "a", 2), (3, "b", 1), (4, "a", 3)];
    let expected = expected.map(|(p, id, v)| (p, format!("ledger-{id}"), v));
    assert_eq!(placed.collect::<Vec<_>>(), expected);
}

/// Every expected version, with a missing stream and with one of two events.
pub async fn expected_versions_are_checked(store: impl Store) {
    let table = [
        (Any, true, true),
        (NoStream, true, false),
        (StreamExists, false, true),
        (Exact(StreamVersion(0)), true, false),
        (Exact(StreamVersion(1)), false, false),
        (Exact(StreamVersion(2)), false, true),
        (Exact(StreamVersion(3)), false, false),
    ];
    for (row, (expected, on_absent, on_two)) in table.into_iter().enumerate() {
        let outcome = one(&store, append(&format!("absent-{row}"), expected, 1)).await;
        let is_committed = matches!(outcome, AppendOutcome::Committed(_));
        assert_eq!(is_committed, on_absent, "{expected:?} of an absent stream: {outcome:?}");
        let two = format!("two-{row}");
        committed(one(&store, append(&two, Any, 2)).await);
        match one(&store, append(&two, expected, 1)).await {
            AppendOutcome::Committed(_) => assert!(on_two, "{expected:?} held for two events"),
            AppendOutcome::NotCommitted(NotCommitted::Conflict { actual }) => {
                assert!(!on_two && actual.0 == 2, "{expected:?} did not hold for {actual} events");
            }
            other => panic!("{expected:?}: {other:?}"),
        }
    }
}

/// A refused append of several events leaves neither events nor a hole.
pub async fn an_append_is_stored_whole_or_not_at_all(store: impl Store) {
    committed(one(&store, append("a", Any, 1)).await);
    refused(one(&store, append("a", NoStream, 5)).await);
    let next = committed(one(&store, append("a", Any, 5)).await);
    assert_eq!((next.version.0, next.position.0), (6, 6));
    assert_eq!(store.head().await.unwrap().0, 6);
}

/// Each append of a call sees the ones before it.
pub async fn appends_of_one_call_see_one_another(store: impl Store) {
    let exact = |version| Exact(StreamVersion(version));
    let mut outcomes = store
        .append(vec![
            append("a", NoStream, 1),
            append("a", exact(1), 2),
            append("a", exact(1), 1),
            append("b", NoStream, 1),
            append("a", exact(3), 1),
        ])
        .await
        .into_iter();
    let mut next = || outcomes.next().unwrap();
    assert_eq!(committed(next()).version.0, 1);
    assert_eq!(committed(next()).version.0, 3);
    assert!(matches!(refused(next()), NotCommitted::Conflict { actual: StreamVersion(3) }));
    assert_eq!(committed(next()).position.0, 4);
    assert_eq!(committed(next()).position.0, 5);
}

/// An append that depends on a failed one must not be stored.
pub async fn a_chained_append_falls_with_the_one_before_it(store: impl Store) {
    committed(one(&store, append("a", Any, 1)).await);
    let exact =
        |version, chained| Append { chained, ..append("a", Exact(StreamVersion(version)), 1) };
    // The second append matches the version that others have reached, but must be refused anyway.
    let outcomes = store.append(vec![exact(0, false), exact(1, true), exact(2, true)]).await;
    assert!(outcomes.into_iter().map(refused).count() == 3);
    let outcomes = store.append(vec![exact(1, false), exact(2, true), exact(3, true)]).await;
    let versions = outcomes.into_iter().map(|outcome| committed(outcome).version.0);
    assert_eq!(versions.collect::<Vec<_>>(), [2, 3, 4]);
}

/// A chain never depends on another stream's append or on one further back.
pub async fn a_chained_append_follows_only_its_own_stream(store: impl Store) {
    let chained = |id| Append { chained: true, ..append(id, Any, 1) };
    let call = vec![append("a", Any, 1), chained("b"), chained("a"), append("a", Any, 1)];
    let mut outcomes = store.append(call).await.into_iter();
    let mut next = || outcomes.next().unwrap();
    assert_eq!(committed(next()).version.0, 1);
    assert!(matches!(refused(next()), NotCommitted::Conflict { actual: StreamVersion(0) }));
    assert!(matches!(refused(next()), NotCommitted::Conflict { actual: StreamVersion(1) }));
    assert_eq!(committed(next()).position.0, 2);
}

/// A store may write the appends of several callers in one batch, but a chain never crosses a call.
pub async fn a_call_that_begins_chained_is_not_chained_to_another_callers(store: impl Store) {
    let chained = || Append { chained: true, ..append("a", Any, 1) };
    let store = Arc::new(store);
    let calls = (0..200).map(|call| {
        let store = Arc::clone(&store);
        let appends = match call % 2 {
            0 => vec![append("a", Any, 1)],
            _ => vec![chained(), chained()],
        };
        tokio::spawn(async move { (call % 2, store.append(appends).await) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (begins_chained, outcomes) = call.await.unwrap();
        for outcome in outcomes {
            match begins_chained {
                0 => assert!(!committed(outcome).replayed),
                _ => assert!(matches!(refused(outcome), NotCommitted::Conflict { .. })),
            }
        }
    }
    assert_eq!(store.head().await.unwrap().0, 100);
}

/// An append without a command id can be sent again after its result was lost. The store recognises
/// its event ids, returns the first outcome, and stores nothing twice.
pub async fn the_same_events_sent_again_are_answered_as_they_were(store: impl Store) {
    let sent = append("a", NoStream, 2);
    let first = committed(one(&store, sent.clone()).await);
    committed(one(&store, append("b", Any, 1)).await);
    let again = committed(one(&store, Append { expected: Any, ..sent }).await);
    assert_eq!((again.version, again.position), (first.version, first.position));
    assert!(again.replayed && !first.replayed);
    let events =
        store.read_stream(&stream("a"), StreamVersion::ZERO, PageLimit::events(9)).await.unwrap();
    assert_eq!((events.len(), store.head().await.unwrap().0), (2, 3));
}

/// An append without events returns the end of the stream.
pub async fn an_append_of_nothing_answers_where_its_stream_is(store: impl Store) {
    committed(one(&store, append("b", Any, 1)).await);
    committed(one(&store, append("a", Any, 5)).await);
    committed(one(&store, append("b", Any, 1)).await);
    for expected in [StreamExists, Any, Exact(StreamVersion(5))] {
        let found = committed(one(&store, append("a", expected, 0)).await);
        assert_eq!((found.version.0, found.position.0), (5, 6));
    }
    assert_eq!(committed(one(&store, append("c", NoStream, 0)).await).version.0, 0);
    assert!(store.append(Vec::new()).await.is_empty());
}

/// A client may expect any number as version.
pub async fn a_version_that_no_stream_can_have_is_a_conflict(store: impl Store) {
    committed(one(&store, append("a", Any, 1)).await);
    for version in [u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 62] {
        for id in ["a", "b"] {
            let outcome = one(&store, append(id, Exact(StreamVersion(version)), 2)).await;
            let NotCommitted::Conflict { actual } = refused(outcome) else { panic!("no conflict") };
            assert_eq!(actual.0, u64::from(id == "a"));
        }
    }
    assert_eq!(committed(one(&store, append("a", Exact(StreamVersion(1)), 1)).await).position.0, 2);
}
