//! Writes beside the appends, in one of their transactions.
//!
//! So it costs no sync of its own. It counts in the bounds of the committer's queue and batch.

use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::commands::Prune;
use super::parked_keys::Request;
use super::versions::VersionChange;
use super::{SqliteStore, checkpoints, commands, parked_keys, program, rows, snapshots, versions};
use crate::error::StoreError;
use crate::store::contract::{DocumentBatch, Snapshot, WorkChange};
use crate::store::kit::leases::Leases;

/// A write that rides along in the transaction of the appends, and so costs no sync of its own.
#[derive(Debug)]
pub(super) enum SideWrite {
    Documents(DocumentBatch),
    Snapshot(Snapshot),
    Request(Request),
    Version(VersionChange),
    Prune(Prune),
    Program(String),
}

impl SideWrite {
    /// Size for the bounds of the committer's queue and batch; what is always small counts as 1 KiB.
    fn bytes(&self) -> usize {
        let large = match self {
            Self::Documents(batch) => {
                let documents = batch.documents.iter().map(|(key, body)| key.len() + body.len());
                let work = batch.update.work.iter().map(|change| match change {
                    WorkChange::Open(work) => work.bytes(),
                    WorkChange::Again { .. } | WorkChange::Close { .. } => 0,
                });
                documents.chain(work).sum()
            }
            Self::Snapshot(snapshot) => snapshot.state.len(),
            Self::Request(_) | Self::Version(_) | Self::Prune(_) | Self::Program(_) => 0,
        };
        large + 1024
    }
}

impl SqliteStore {
    /// Writes beside the appends, in one of their transactions.
    pub(super) async fn write_beside(&self, write: SideWrite) -> Result<bool, StoreError> {
        let bytes = write.bytes();
        self.committer.write(write, bytes).await
    }
}

/// A side write that is refused changes nothing; one that fails fails the transaction.
pub(super) async fn write_beside(
    connection: &mut SqliteConnection,
    leases: &Leases,
    side_write: &SideWrite,
    now: OffsetDateTime,
) -> Result<Result<bool, StoreError>, sqlx::Error> {
    match side_write {
        SideWrite::Snapshot(snapshot) => {
            snapshots::upsert_snapshot(connection, snapshot).await?;
            crate::failpoints::point("snapshot.before_commit");
            Ok(Ok(true))
        }
        SideWrite::Documents(batch) => {
            let advanced =
                checkpoints::update_checkpoint(connection, leases, &batch.update).await?;
            if let Ok(true) = advanced {
                rows::upsert_documents(connection, batch).await?;
                if !batch.documents.is_empty() {
                    crate::failpoints::point("documents.before_commit");
                }
            }
            Ok(advanced)
        }
        SideWrite::Request(request) => parked_keys::request(connection, request).await.map(Ok),
        SideWrite::Program(name) => program::keep(connection, name).await.map(Ok),
        SideWrite::Prune(prune) => commands::prune(connection, prune, now).await.map(Ok),
        SideWrite::Version(change) => versions::change(connection, leases, change).await.map(Ok),
    }
}
