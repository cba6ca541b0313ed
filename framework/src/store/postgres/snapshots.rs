//! Snapshots: one row for each stream, the newest.

use async_trait::async_trait;
use sqlx::Row;

use super::PostgresStore;
use super::connections::Purpose;
use crate::error::StoreError;
use crate::event::{GlobalPosition, StreamId, StreamVersion};
use crate::store::contract::{Snapshot, SnapshotStore};

#[async_trait]
impl SnapshotStore for PostgresStore {
    async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, StoreError> {
        let asked = stream.clone();
        let rows = self.connections.rows(Purpose::Streams, move || {
            sqlx::query(
                "SELECT version, position, state_version, state::text, checksum, event_id
                 FROM snapshots WHERE stream_type = $1 AND stream_id = $2",
            )
            .bind(asked.aggregate_type().to_owned())
            .bind(asked.id().to_owned())
        });
        let rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (version, position): (i64, i64) = (row.get(0), row.get(1));
        // A row that is no snapshot counts as absent.
        let Ok(checksum) = row.get::<Vec<u8>, _>(4).try_into() else { return Ok(None) };
        Ok(Some(Snapshot {
            stream: stream.clone(),
            version: StreamVersion(version as u64),
            position: GlobalPosition(position as u64),
            event_id: row.get(5),
            state_version: row.get::<i32, _>(2) as u32,
            state: row.get(3),
            checksum,
        }))
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let upsert = move || {
            sqlx::query(
                "INSERT INTO snapshots AS kept
                 (stream_type, stream_id, version, position, state_version, state, checksum, event_id)
                 VALUES ($1, $2, $3, $4, $5, $6::text::json, $7, $8)
                 ON CONFLICT (stream_type, stream_id) DO UPDATE SET version = excluded.version,
                 position = excluded.position, state_version = excluded.state_version,
                 state = excluded.state, checksum = excluded.checksum,
                 event_id = excluded.event_id
                 WHERE excluded.version > kept.version",
            )
            .bind(snapshot.stream.aggregate_type().to_owned())
            .bind(snapshot.stream.id().to_owned())
            .bind(snapshot.version.0 as i64)
            .bind(snapshot.position.0 as i64)
            .bind(snapshot.state_version as i32)
            .bind(snapshot.state.clone())
            .bind(snapshot.checksum.to_vec())
            .bind(snapshot.event_id)
        };
        let written = self.connections.rows(Purpose::Documents, upsert).await;
        written.map(drop).map_err(|fault| fault.not_written(&self.place))
    }
}
