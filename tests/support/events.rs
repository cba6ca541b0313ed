//! Events and appends of tests that write to a store past the application.

use actum::store::{Append, NewEvent};
use actum::{CommandKey, CommandOptions, ExpectedVersion, StreamId};
use uuid::Uuid;

/// A new event of schema version 1, with empty metadata.
pub fn event(event_type: &str, payload: &str) -> NewEvent {
    NewEvent {
        event_id: Uuid::now_v7(),
        event_type: event_type.to_owned().into(),
        schema_version: 1,
        payload: payload.into(),
        metadata: "{}".into(),
    }
}

/// An append of these events at any version, without a command key.
pub fn append(
    aggregate_type: &str,
    id: &str,
    events: impl IntoIterator<Item = NewEvent>,
) -> Append {
    Append {
        stream: StreamId::new(aggregate_type, id).unwrap(),
        expected: ExpectedVersion::Any,
        events: events.into_iter().collect(),
        command: None,
        claims: vec![],
        chained: false,
    }
}

/// Events of one counter and one type, appended as another process would.
pub fn foreign(
    id: &str,
    event_type: &str,
    payloads: impl IntoIterator<Item = impl ToString>,
) -> Append {
    let payloads = payloads.into_iter();
    append("counter", id, payloads.map(|payload| event(event_type, &payload.to_string())))
}

/// The options of a command with this idempotency key, the same request each time.
pub fn keyed(key: &str) -> CommandOptions {
    CommandOptions::keyed(CommandKey::new(key, b"").unwrap())
}
