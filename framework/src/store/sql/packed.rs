//! Many rows in one: a page of events as one JSON text.
//!
//! A driver pays about a microsecond for each row it hands over, several times what the row costs
//! the database. So a page travels as one text, with payloads and metadata inlined as they are and
//! borrowed when read: their bytes stay what was written.

use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};

/// `[position, "stream type", "stream id", version, "event id in hex", "event type",
/// schema version, payload, metadata, recorded at in µs]`
#[derive(Deserialize)]
struct PackedEvent<'a>(
    u64,
    &'a str,
    &'a str,
    u64,
    &'a str,
    &'a str,
    u32,
    #[serde(borrow)] &'a RawValue,
    #[serde(borrow)] &'a RawValue,
    i64,
);

/// The events of a packed page.
///
/// # Errors
/// What does not fit the format, without its place: read the rows one by one to find it.
pub(crate) fn unpack(page: &str) -> Result<Vec<RecordedEvent>, String> {
    let packed: Vec<PackedEvent<'_>> = serde_json::from_str(page).map_err(|e| e.to_string())?;
    packed.into_iter().map(recorded).collect()
}

fn recorded(packed: PackedEvent<'_>) -> Result<RecordedEvent, String> {
    let PackedEvent(
        position,
        stream_type,
        stream_id,
        version,
        event_id,
        event_type,
        schema_version,
        payload,
        metadata,
        recorded_at,
    ) = packed;
    let recorded_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(recorded_at) * 1000);
    Ok(RecordedEvent {
        position: GlobalPosition(position),
        stream: StreamId::new(stream_type, stream_id).map_err(|e| e.to_string())?,
        version: StreamVersion(version),
        event_id: Uuid::try_parse(event_id).map_err(|e| e.to_string())?,
        event_type: event_type.to_owned(),
        schema_version,
        payload: payload.get().to_owned(),
        metadata: metadata.get().to_owned(),
        recorded_at: recorded_at.map_err(|e| e.to_string())?,
    })
}
