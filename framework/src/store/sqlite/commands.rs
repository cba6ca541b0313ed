//! Command keys: which are known, and which are old enough to be forgotten.

use std::collections::HashMap;

use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::rows::micros;
use crate::store::contract::Append;
use crate::store::kit::version_check::PastCommand;
use crate::store::sql::numbers::{most, past_command};

/// Finds the outcomes of those of the appends' commands that are known.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    appends: &[Append],
) -> Result<HashMap<String, PastCommand>, sqlx::Error> {
    let keys: Vec<&str> =
        appends.iter().filter_map(|a| a.command.as_ref()).map(|key| &*key.id).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let asked = serde_json::to_string(&keys).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    let found: Vec<(String, Vec<u8>, i64, i64)> = sqlx::query_as(
        "SELECT command_id, fingerprint, version, position FROM commands
         WHERE command_id IN (SELECT value FROM json_each(?))",
    )
    .bind(asked)
    .fetch_all(connection)
    .await?;
    found
        .into_iter()
        .map(|(id, fingerprint, version, position)| {
            Ok((id, past_command(&fingerprint, version, position)?))
        })
        .collect()
}

/// A request to delete command keys.
#[derive(Debug)]
pub(super) struct Prune {
    pub(super) recorded_before: OffsetDateTime,
    pub(super) at_most: usize,
}

/// Deletes the oldest keys that were recorded before a time. Returns whether there may be more.
///
/// Keys are looked at in the order in which they came, because an index by time would cost each
/// command a page. A clock that was ahead leaves keys that are young for longer than those behind
/// them. Keys from the future are passed over one by one, because nothing else is known of them.
/// Younger ones are passed over only if an old key is found behind them. Keys that open work has are
/// passed over always; they are few, because most work closes when its key is stored.
pub(super) async fn prune(
    connection: &mut SqliteConnection,
    prune: &Prune,
    now: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let mut gone = delete(connection, prune, now, 0).await?;
    if gone == 0
        && let Some(number) = first_behind_young(connection, prune.recorded_before).await?
    {
        gone = delete(connection, prune, now, number).await?;
    }
    Ok(gone > 0 && gone >= prune.at_most as u64)
}

/// Deletes the old ones of the first keys from a number on. Returns how many they were.
async fn delete(
    connection: &mut SqliteConnection,
    prune: &Prune,
    now: OffsetDateTime,
    from: i64,
) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query(
        "DELETE FROM commands
         WHERE number IN (SELECT number FROM commands WHERE number >= ? AND recorded_at <= ?
                          AND NOT EXISTS (SELECT 1 FROM open_work
                                          WHERE command_key = commands.command_id)
                          ORDER BY number LIMIT ?)
           AND recorded_at < ?",
    )
    .bind(from)
    .bind(micros(now))
    .bind(most(prune.at_most))
    .bind(micros(prune.recorded_before))
    .execute(connection)
    .await?;
    Ok(gone.rows_affected())
}

/// Finds the first old key behind young ones. It looks at a few keys only, at distances that double
/// and then at the middle between a young one and an old one. So it finds one at the latest when as
/// many are old as are young before them.
async fn first_behind_young(
    connection: &mut SqliteConnection,
    recorded_before: OffsetDateTime,
) -> Result<Option<i64>, sqlx::Error> {
    let before = micros(recorded_before);
    let (mut young, mut distance) = (0, 1);
    let mut old = loop {
        match at_or_after(connection, young + distance).await? {
            Some((number, recorded_at)) if recorded_at < before => break number,
            Some((number, _)) => (young, distance) = (number, distance * 2),
            None => return Ok(None),
        }
    };
    // No key is between `end` and `old`.
    let mut end = old;
    while end - young > 1 {
        let middle = young + (end - young) / 2;
        match at_or_after(connection, middle).await? {
            Some((number, recorded_at)) if number < old => match recorded_at < before {
                true => (old, end) = (number, middle),
                false => young = number,
            },
            _ => end = middle,
        }
    }
    Ok(Some(old))
}

/// The first key from a number on: its number, and when it was recorded.
async fn at_or_after(
    connection: &mut SqliteConnection,
    number: i64,
) -> Result<Option<(i64, i64)>, sqlx::Error> {
    let key = "SELECT number, recorded_at FROM commands WHERE number >= ?
               AND NOT EXISTS (SELECT 1 FROM open_work WHERE command_key = commands.command_id)
               ORDER BY number LIMIT 1";
    sqlx::query_as(key).bind(number).fetch_optional(connection).await
}
