//! Looking up what the log says: its head, the ends of streams, and events by their ids.

use std::collections::HashMap;

use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::event::{GlobalPosition, StreamId, StreamVersion, Tip};
use crate::store::contract::Append;
use crate::store::sql::numbers::tip;

/// The last position of the log.
pub(super) async fn find_head(
    connection: &mut SqliteConnection,
) -> Result<GlobalPosition, sqlx::Error> {
    let head: i64 = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events")
        .fetch_one(connection)
        .await?;
    Ok(GlobalPosition(head as u64))
}

/// Adds the last version and position of each of these streams that has events. The database packs
/// them into one row: `index version position` of each.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    streams: &[&StreamId],
    tips: &mut HashMap<StreamId, Tip>,
) -> Result<(), sqlx::Error> {
    // Types and ids hold nothing that JSON would escape.
    let names = streams.iter().map(|s| format!("[\"{}\",\"{}\"]", s.aggregate_type(), s.id()));
    let asked = format!("[{}]", names.collect::<Vec<_>>().join(","));
    let found: Option<String> = sqlx::query_scalar(
        "SELECT group_concat(concat(asked.key, ' ', e.version, ' ', e.position), ';')
         FROM json_each(?) AS asked JOIN events AS e
         ON e.stream_type = asked.value ->> 0 AND e.stream_id = asked.value ->> 1
         AND e.version = (SELECT max(version) FROM events AS last
                          WHERE last.stream_type = e.stream_type AND last.stream_id = e.stream_id)",
    )
    .bind(asked)
    .fetch_one(connection)
    .await?;
    for tip in found.iter().flat_map(|found| found.split(';')) {
        let mut numbers = tip.split(' ').map(|number| number.parse::<u64>().unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        let stream = streams[next() as usize];
        let tip = Tip { version: StreamVersion(next()), position: GlobalPosition(next()) };
        tips.insert(stream.clone(), tip);
    }
    Ok(())
}

/// The stored ones of these appends' events, by id.
pub(super) async fn find_events(
    connection: &mut SqliteConnection,
    appends: &[Append],
) -> Result<HashMap<Uuid, (StreamId, Tip)>, sqlx::Error> {
    let ids = appends.iter().flat_map(|append| &append.events);
    let ids = ids.map(|event| format!("\"{}\"", event.event_id.simple()));
    let asked = format!("[{}]", ids.collect::<Vec<_>>().join(","));
    let found: Vec<(Vec<u8>, String, String, i64, i64)> = sqlx::query_as(
        "SELECT event_id, stream_type, stream_id, version, position FROM events
         WHERE event_id IN (SELECT unhex(value) FROM json_each(?))",
    )
    .bind(asked)
    .fetch_all(connection)
    .await?;
    let decode = |(id, stream_type, stream_id, version, position): (Vec<u8>, _, _, i64, i64)| {
        let stream_type: String = stream_type;
        let stream_id: String = stream_id;
        let stream = StreamId::new(&stream_type, &stream_id);
        let stream = stream.map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        let id = Uuid::from_slice(&id).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        Ok((id, (stream, tip(version, position))))
    };
    found.into_iter().map(decode).collect()
}
