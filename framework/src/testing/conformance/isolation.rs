//! Tests that one bad append among good ones fails alone.

use super::{append, committed, event, one, refused};
use crate::command::{CommandKey, Committed};
use crate::event::ExpectedVersion::{Any, NoStream, StreamExists};
use crate::event::{GlobalPosition, NewEvent};
use crate::store::contract::{Append, MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES, NotCommitted, Store};

fn of(event: NewEvent) -> Append {
    Append { events: vec![event], ..append("bad", Any, 0) }
}

/// Every kind of bad append, among fifty good ones.
pub async fn a_bad_append_fails_alone(store: impl Store) {
    let large = format!("\"{}\"", "x".repeat(MAX_PAYLOAD_BYTES));
    let metadata = format!("\"{}\"", "x".repeat(MAX_METADATA_BYTES)).into();
    let deep = format!("{}{}", "[".repeat(9_999), "]".repeat(9_999));
    let keyed = |id: &str| {
        let key = CommandKey { id: id.to_owned(), fingerprint: [0; 16] };
        Append { command: Some(key), ..append("bad", Any, 1) }
    };
    let bad = [
        append("bad", StreamExists, 1),
        of(event(&large)),
        of(event("{no json")),
        of(event("1 2")),
        of(event("")),
        of(event(" 1")),
        of(event(&deep)),
        keyed(""),
        keyed("n\0l"),
        keyed(&"k".repeat(5_000)),
        of(NewEvent { metadata, ..event("1") }),
        of(NewEvent { event_type: "".into(), ..event("1") }),
        of(NewEvent { event_type: "a\"b".into(), ..event("1") }),
        of(NewEvent { event_type: "x".repeat(256).into(), ..event("1") }),
    ];
    let count = bad.len();
    let mut appends: Vec<_> = (0..50).map(|n| append(&format!("g{n}"), NoStream, 2)).collect();
    for (index, bad) in bad.into_iter().enumerate() {
        appends.insert(index * 3, bad);
    }
    let outcomes = store.append(appends).await;
    let mut position = 0;
    for (index, outcome) in outcomes.into_iter().enumerate() {
        if index % 3 == 0 && index / 3 < count {
            let reason = refused(outcome);
            let named = matches!(reason, NotCommitted::Conflict { .. } | NotCommitted::Invalid(_));
            assert!(named, "{reason:?}");
        } else {
            position += 2;
            assert_eq!(committed(outcome).position, GlobalPosition(position));
        }
    }
    assert_eq!((position, store.head().await.unwrap().0), (100, 100));
}

/// An event id that is stored elsewhere, or appears twice in one append, is refused.
pub async fn a_doubled_event_id_fails_its_own_append(store: impl Store) {
    let first = append("a", Any, 1);
    let doubled = |id: &str| Append { events: first.events.clone(), ..append(id, Any, 1) };
    committed(one(&store, first.clone()).await);
    let mut appends: Vec<_> = (0..50).map(|n| append(&format!("g{n}"), NoStream, 1)).collect();
    appends[25] = doubled("elsewhere");
    for (index, outcome) in store.append(appends).await.into_iter().enumerate() {
        match index {
            25 => assert!(matches!(refused(outcome), NotCommitted::Invalid(_))),
            _ => drop(committed(outcome)),
        }
    }
    assert_eq!(store.head().await.unwrap().0, 50);
    let twice = event("1");
    let both = Append { events: vec![twice.clone(), twice.clone()], ..append("twice", Any, 0) };
    assert!(matches!(refused(one(&store, both).await), NotCommitted::Invalid(_)));
    // The same append twice in one call counts as the same events sent again.
    let mut outcomes = store.append(vec![of(twice.clone()), of(twice)]).await.into_iter();
    let (first, again) = (outcomes.next().unwrap(), outcomes.next().unwrap());
    let stood = committed(first);
    assert_eq!(committed(again), Committed { replayed: true, ..stood });
}
