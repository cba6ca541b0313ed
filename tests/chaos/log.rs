//! The log as plain SQL finds it, read without any code of the framework.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::PgConnection;

/// An event as it stands in the table.
#[derive(Debug, Clone)]
pub struct LogRow {
    pub position: i64,
    pub stream: String,
    pub version: i64,
    pub event_id: String,
    pub name: String,
    pub amount: Option<i64>,
    /// The key of the command that ends with it: stored is `LENGTH:PRINCIPAL,KEY`.
    pub command: Option<String>,
}

/// All of it, and asserted: positions 1..N, versions 1..n, no event id and no command twice.
pub async fn read(connection: &mut PgConnection) -> Vec<LogRow> {
    type Columns = (i64, String, i64, String, String, Option<i64>, Option<String>);
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT e.position, e.stream_type || '-' || e.stream_id, e.version, e.event_id::text,
                e.event_type, (e.payload->>'amount')::bigint,
                substr(c.command_id, strpos(c.command_id, ',') + 1)
         FROM actum.events AS e LEFT JOIN actum.commands AS c
         ON c.position = e.position AND c.version = e.version
         ORDER BY e.position, c.command_id",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let rows =
        rows.into_iter().map(|(position, stream, version, event_id, name, amount, command)| {
            LogRow { position, stream, version, event_id, name, amount, command }
        });
    let rows: Vec<LogRow> = rows.collect();
    let (mut versions, mut ids, mut commands) =
        (HashMap::<_, i64>::new(), HashSet::new(), HashSet::new());
    for (row, position) in rows.iter().zip(1..) {
        assert_eq!(row.position, position, "a position is missing or stands twice: {row:?}");
        let version = versions.entry(&row.stream).or_default();
        *version += 1;
        assert_eq!(row.version, *version, "a version is missing or stands twice: {row:?}");
        assert!(ids.insert(&row.event_id), "an event id stands twice: {row:?}");
        let known = row.command.iter().all(|command| commands.insert(command));
        assert!(known, "a command was carried out twice: {row:?}");
    }
    // Those without events would not be in the join.
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM actum.commands")
        .fetch_one(connection)
        .await
        .unwrap();
    assert_eq!(count, commands.len() as i64, "a command is kept whose event is not there");
    rows
}

/// The last position of the log.
pub async fn head(connection: &mut PgConnection) -> i64 {
    let head = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM actum.events");
    head.fetch_one(connection).await.unwrap()
}
