//! Tests that payloads are read byte for byte as they were written.

use std::sync::Arc;

use uuid::Uuid;

use super::{append, committed, event, keyed, one, refused, stream};
use crate::event::{ExpectedVersion, GlobalPosition, NewEvent, RecordedEvent, StreamVersion};
use crate::store::contract::{Append, Filter, NotCommitted, PageLimit, Snapshot, Store};

fn same(new: &NewEvent, read: &RecordedEvent) {
    assert_eq!(read.event_id, new.event_id);
    assert_eq!(read.event_type, new.event_type);
    assert_eq!(read.schema_version, new.schema_version);
    assert!(*read.payload == *new.payload, "another payload than {:.80}", new.payload);
    assert_eq!(read.metadata, *new.metadata);
}

/// Unicode, empty texts, a megabyte, escapes, spaces, numbers that no float can hold, odd names.
pub async fn payloads_come_back_byte_for_byte(store: impl Store) {
    let megabyte = format!("{{\"text\":\"{}\"}}", "ü".repeat(500_000));
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let payloads = [
        "{}",
        "null",
        "\"\"",
        "{\"name\":\"Ada 🦀 ńí ≤ ע\"}",
        "{\"nul\":\"\\u0000\",\"lone\":\"\\ud800\",\"slash\":\"\\/\",\"quote\":\"\\\"]\"}",
        "{ \"a\" : [ 1 ,\n\t2 ] }",
        "{\"b\":1,\"a\":2,\"b\":3}",
        "[9007199254740993,1e400,-0,1.0]",
        &megabyte,
        &deep,
    ];
    let mut events: Vec<_> = payloads.into_iter().map(event).collect();
    events[3].metadata = "{\"correlation_id\":\"ü\", \"x\":\"[\"}".into();
    events[3].event_type = "Größe geändert".into();
    events[3].schema_version = 7;
    let before = time::OffsetDateTime::now_utc() - time::Duration::seconds(60);
    let sent = Append { events: events.clone(), ..append("a", ExpectedVersion::Any, 0) };
    committed(one(&store, sent).await);
    let read =
        store.read_stream(&stream("a"), StreamVersion::ZERO, PageLimit::events(99)).await.unwrap();
    assert_eq!(read.len(), events.len());
    let page =
        store.read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(99)).await.unwrap();
    for ((new, read), paged) in events.iter().zip(&read).zip(&page.events) {
        same(new, read);
        assert_eq!(Arc::new(read.clone()), *paged);
        assert!(read.recorded_at > before && read.recorded_at < before + time::Duration::hours(1));
    }
}

/// Events are immutable: no later call of the store changes them.
pub async fn no_call_changes_an_event(store: impl Store) {
    let first =
        Append { events: (0..5).map(|n| event(&n.to_string())).collect(), ..keyed("a", 0, "k") };
    committed(one(&store, first.clone()).await);
    committed(one(&store, append("b", ExpectedVersion::Any, 3)).await);
    let page = async || {
        store.read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(8)).await.unwrap()
    };
    let before = page().await.events;
    assert_eq!(before.len(), 8);
    let mut altered = first.clone();
    for event in &mut altered.events {
        event.payload = "\"altered\"".into();
    }
    assert!(committed(one(&store, altered.clone()).await).replayed);
    altered.command = None;
    assert!(committed(one(&store, altered.clone()).await).replayed);
    altered.events.truncate(1);
    let elsewhere = Append { stream: stream("c"), ..altered };
    assert!(matches!(refused(one(&store, elsewhere).await), NotCommitted::Invalid(_)));
    refused(one(&store, append("a", ExpectedVersion::Exact(StreamVersion(2)), 2)).await);
    let (version, position) = (StreamVersion(3), GlobalPosition(3));
    let snapshot =
        Snapshot::new(stream("a"), version, position, Uuid::nil(), 1, "\"altered\"".to_owned());
    store.save_snapshot(snapshot).await.unwrap();
    committed(one(&store, append("a", ExpectedVersion::Any, 2)).await);
    assert_eq!(page().await.events, before);
    let of_a =
        store.read_stream(&stream("a"), StreamVersion::ZERO, PageLimit::events(5)).await.unwrap();
    assert!(of_a.iter().eq(before[..5].iter().map(|event| &**event)));
}
