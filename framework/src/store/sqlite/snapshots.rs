//! Snapshots: at most one for each stream, written beside the appends.

use async_trait::async_trait;
use sqlx::Error;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::side_write::SideWrite;
use super::{SqliteStore, fault};
use crate::error::StoreError;
use crate::event::{GlobalPosition, StreamId, StreamVersion};
use crate::store::contract::{Snapshot, SnapshotStore};

/// Version, position, event id, state version, state and checksum of a snapshot.
type SnapshotRow = (i64, i64, Vec<u8>, i64, String, Vec<u8>);

#[async_trait]
impl SnapshotStore for SqliteStore {
    async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, StoreError> {
        let mut reader = self.reader().await?;
        let row: Option<SnapshotRow> = sqlx::query_as(
            "SELECT version, position, event_id, state_version, state, checksum FROM snapshots
             WHERE stream_type = ? AND stream_id = ?",
        )
        .bind(stream.aggregate_type().to_owned())
        .bind(stream.id().to_owned())
        .fetch_optional(&mut *reader)
        .await
        .or_else(|error| match fault::primary_code(&error) {
            // The row is there and is no snapshot: it counts as absent.
            None => Ok(None),
            Some(_) => Err(self.unavailable(&error)),
        })?;
        Ok(row.and_then(|(version, position, event_id, state_version, state, checksum)| {
            Some(Snapshot {
                stream: stream.clone(),
                version: StreamVersion(u64::try_from(version).ok()?),
                position: GlobalPosition(u64::try_from(position).ok()?),
                event_id: Uuid::from_slice(&event_id).ok()?,
                state_version: u32::try_from(state_version).ok()?,
                state,
                checksum: checksum.try_into().ok()?,
            })
        }))
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.write_beside(SideWrite::Snapshot(snapshot)).await.map(drop)
    }
}

pub(super) async fn upsert_snapshot(
    connection: &mut SqliteConnection,
    snapshot: &Snapshot,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO snapshots
         (stream_type, stream_id, version, position, event_id, state_version, state, checksum)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (stream_type, stream_id) DO UPDATE SET version = excluded.version,
         position = excluded.position, event_id = excluded.event_id,
         state_version = excluded.state_version,
         state = excluded.state, checksum = excluded.checksum
         WHERE excluded.version > version",
    )
    .bind(snapshot.stream.aggregate_type().to_owned())
    .bind(snapshot.stream.id().to_owned())
    .bind(snapshot.version.0 as i64)
    .bind(snapshot.position.0 as i64)
    .bind(snapshot.event_id.as_bytes().to_vec())
    .bind(i64::from(snapshot.state_version))
    .bind(snapshot.state.clone())
    .bind(snapshot.checksum.to_vec())
    .execute(connection)
    .await?;
    Ok(())
}
