//! Tests of command ids: one effect and one outcome, however often and wherever a command is sent.

use std::time::Duration;

use time::OffsetDateTime;

use super::{append, committed, keyed, one, refused, stream};
use crate::command::CommandKey;
use crate::event::{ExpectedVersion, StreamVersion};
use crate::store::contract::{Append, Confirmation, NotCommitted, Store};

/// Promise 2: a retry returns the first outcome, whatever version it expects now.
pub async fn a_command_id_acts_once(store: impl Store) {
    let first = committed(one(&store, keyed("a", 2, "k")).await);
    committed(one(&store, append("a", ExpectedVersion::Any, 1)).await);
    let retry = Append { expected: ExpectedVersion::NoStream, ..keyed("a", 2, "k") };
    let again = committed(one(&store, retry).await);
    assert_eq!((again.version, again.position), (first.version, first.position));
    assert!(again.replayed && !first.replayed);
    assert_eq!(store.head().await.unwrap().0, 3);
}

/// The same if both are in one call.
pub async fn a_command_id_acts_once_within_one_call(store: impl Store) {
    let outcomes = store.append(vec![keyed("a", 1, "k"), keyed("a", 1, "k")]).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(committed).collect();
    assert_eq!(outcomes.iter().map(|c| c.replayed).collect::<Vec<_>>(), [false, true]);
    assert_eq!(store.head().await.unwrap().0, 1);
}

/// The same if fifty callers send it at once.
pub async fn a_command_id_acts_once_among_concurrent_callers(store: impl Store + Clone) {
    let calls = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { committed(one(&store, keyed("a", 1, "k")).await) })
    });
    let mut fresh = 0;
    for call in calls.collect::<Vec<_>>() {
        fresh += usize::from(!call.await.unwrap().replayed);
    }
    assert_eq!((fresh, store.head().await.unwrap().0), (1, 1));
}

/// A command id is bound to its request, on other streams too.
pub async fn another_request_with_the_same_id_is_refused(store: impl Store) {
    committed(one(&store, keyed("a", 1, "k")).await);
    let command = Some(CommandKey::new("k", b"another request").unwrap());
    let other = Append { command, ..append("b", ExpectedVersion::Any, 1) };
    assert!(matches!(refused(one(&store, other).await), NotCommitted::KeyReused));
    assert_eq!(store.head().await.unwrap().0, 1);
}

/// A command without events must not act when it is retried later.
pub async fn a_command_without_events_is_remembered(store: impl Store) {
    let tip = committed(one(&store, append("a", ExpectedVersion::Any, 2)).await);
    let nothing = committed(one(&store, keyed("a", 0, "k")).await);
    assert_eq!((nothing.version, nothing.position), (tip.version, tip.position));
    let again = committed(one(&store, keyed("a", 3, "k")).await);
    assert_eq!((again.version, again.replayed), (tip.version, true));
    assert_eq!(store.head().await.unwrap().0, 2);
}

/// A refused append leaves its command id unused.
pub async fn a_refused_append_keeps_no_command_id(store: impl Store) {
    let expected = ExpectedVersion::StreamExists;
    refused(one(&store, Append { expected, ..keyed("a", 1, "k") }).await);
    let later = committed(one(&store, keyed("a", 1, "k")).await);
    assert_eq!((later.position.0, later.replayed), (1, false));
}

/// Results of `confirm` before and after a command.
pub async fn a_confirmation_tells_stale_and_done_from_current(store: impl Store) {
    let (a, key) = (stream("a"), CommandKey::new("k", b"request").unwrap());
    let confirm =
        async |version, key| store.confirm(&a, StreamVersion(version), key).await.unwrap();
    assert_eq!(confirm(0, Some(key.clone())).await, Confirmation::Current);
    let done = committed(one(&store, keyed("a", 1, "k")).await);
    assert_eq!(confirm(1, None).await, Confirmation::Current);
    assert_eq!(confirm(0, None).await, Confirmation::Stale { actual: StreamVersion(1) });
    let Confirmation::Replayed(again) = confirm(0, Some(key.clone())).await else {
        panic!("not found")
    };
    assert_eq!(
        (again.version, again.position, again.replayed),
        (done.version, done.position, true)
    );
    let other = CommandKey::new("k", b"another").unwrap();
    assert_eq!(confirm(1, Some(other)).await, Confirmation::KeyReused);
}

/// A retry gets its first outcome although another append of the batch moves the stream on.
pub async fn a_command_is_known_beside_an_append_that_moves_its_stream(store: impl Store) {
    let exact = |version| ExpectedVersion::Exact(StreamVersion(version));
    let known = |request| {
        let key = CommandKey::new("k", request).unwrap();
        Append { command: Some(key), ..append("a", exact(0), 1) }
    };
    let first = committed(one(&store, known(b"request")).await);
    let both = vec![append("a", exact(1), 1), known(b"request")];
    let mut outcomes = store.append(both).await.into_iter();
    assert_eq!(committed(outcomes.next().unwrap()).version, StreamVersion(2));
    let again = committed(outcomes.next().unwrap());
    assert_eq!((again.version, again.position), (first.version, first.position));
    assert!(again.replayed);
    let both = vec![append("a", exact(2), 1), known(b"another")];
    let mut outcomes = store.append(both).await.into_iter();
    assert_eq!(committed(outcomes.next().unwrap()).version, StreamVersion(3));
    assert!(matches!(refused(outcomes.next().unwrap()), NotCommitted::KeyReused));
}

/// A retry does not affect the other appends of its batch, however often it is sent.
pub async fn a_known_command_is_answered_and_its_neighbours_are_stored(store: impl Store) {
    let first = committed(one(&store, keyed("a", 1, "k")).await);
    for round in 1..=3 {
        let (before, after) = (format!("before {round}"), format!("after {round}"));
        let call = vec![keyed("a", 1, &before), keyed("a", 1, "k"), keyed("b", 1, &after)];
        let outcomes: Vec<_> = store.append(call).await.into_iter().map(committed).collect();
        let told = outcomes.iter().map(|c| (c.version.0, c.replayed)).collect::<Vec<_>>();
        assert_eq!(told, [(round + 1, false), (first.version.0, true), (round, false)]);
    }
    assert_eq!(store.head().await.unwrap().0, 7);
}

/// A pruned command acts again when it is sent again; a younger one is still known.
pub async fn old_command_ids_are_forgotten_the_oldest_first(store: impl Store) {
    let pause = || tokio::time::sleep(Duration::from_millis(5));
    let mut times = Vec::new();
    for key in ["first", "second", "third"] {
        committed(one(&store, keyed("a", 1, key)).await);
        pause().await;
        times.push(OffsetDateTime::now_utc());
        pause().await;
    }
    let hour = Duration::from_secs(3600);
    assert!(!store.prune_commands(times[0] - hour, 10).await.unwrap());
    assert!(store.prune_commands(times[1], 1).await.unwrap(), "the second is old as well");
    assert!(committed(one(&store, keyed("a", 1, "second")).await).replayed);
    assert!(!store.prune_commands(times[1], 10).await.unwrap());
    let replayed = async |key| committed(one(&store, keyed("a", 1, key)).await).replayed;
    assert!(replayed("third").await);
    assert!(!replayed("first").await && !replayed("second").await);
    assert!(replayed("first").await && replayed("second").await);
    assert_eq!(store.head().await.unwrap().0, 5, "an event went with a command id");
}
