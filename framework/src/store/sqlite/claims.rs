//! Claims in the writer's transaction: found before the plan, written with its rows.

use sqlx::Error;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use crate::command::Claim;
use crate::error::StoreError;
use crate::event::StreamId;
use crate::store::contract::Append;
use crate::store::kit::claims::Holders;
use crate::store::kit::version_check::Plan;

/// Finds the holders of the claims that the appends name.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    appends: &[Append],
) -> Result<Holders, Error> {
    let names: Vec<_> = appends.iter().flat_map(|append| &append.claims).map(|c| &c.name).collect();
    if names.is_empty() {
        return Ok(Holders::new());
    }
    let names: Vec<_> = names.iter().map(|(kind, value)| (&**kind, &**value)).collect();
    let found: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT c.kind, c.value, c.stream_type, c.stream_id
         FROM json_each(?) AS asked JOIN claims AS c
         ON c.kind = asked.value ->> 0 AND c.value = asked.value ->> 1",
    )
    .bind(json(&names)?)
    .fetch_all(connection)
    .await?;
    let holder = |(kind, value, stream_type, stream_id): (String, String, String, String)| {
        Ok(((kind.into(), value.into()), Some(stream(&stream_type, &stream_id)?)))
    };
    found.into_iter().map(holder).collect()
}

/// Writes those that changed hands: all go from whoever held them, then to whoever holds them now.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    planned: &Plan<'_>,
) -> Result<(), Error> {
    let (mut given_up, mut taken) = (Vec::new(), Vec::new());
    for ((kind, value), touched, holder) in planned.changed_claims() {
        if touched.before.is_some() {
            given_up.push((&**kind, &**value));
        }
        if let Some(holder) = holder {
            let position = touched.position.0;
            taken.push((&**kind, &**value, holder.aggregate_type(), holder.id(), position));
        }
    }
    // Deleted first: a claim that changes hands within the batch would meet its own primary key.
    if !given_up.is_empty() {
        let delete = sqlx::query(
            "DELETE FROM claims WHERE (kind, value) IN
             (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
        );
        delete.bind(json(&given_up)?).execute(&mut *connection).await?;
    }
    if !taken.is_empty() {
        let insert = sqlx::query(
            "INSERT INTO claims (kind, value, stream_type, stream_id, position)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
             FROM json_each(?)",
        );
        insert.bind(json(&taken)?).execute(&mut *connection).await?;
    }
    Ok(())
}

impl SqliteStore {
    pub(super) async fn read_claim_holder(
        &self,
        claim: Claim,
    ) -> Result<Option<StreamId>, StoreError> {
        let mut reader = self.reader().await?;
        let found = sqlx::query_as(
            "SELECT stream_type, stream_id FROM claims WHERE kind = ? AND value = ?",
        );
        let found = found.bind(claim.kind().to_owned()).bind(claim.value().to_owned());
        let found: Option<(String, String)> =
            found.fetch_optional(&mut *reader).await.map_err(|e| self.unavailable(&e))?;
        let holder = found.map(|(stream_type, id)| stream(&stream_type, &id)).transpose();
        holder.map_err(|e| self.corrupt(format!("the claim {claim}"), e))
    }
}

fn stream(stream_type: &str, id: &str) -> Result<StreamId, Error> {
    StreamId::new(stream_type, id).map_err(|e| Error::Decode(Box::new(e)))
}

fn json<T: serde::Serialize>(rows: &[T]) -> Result<String, Error> {
    serde_json::to_string(rows).map_err(|e| Error::Encode(Box::new(e)))
}
