//! What is written beside the appends: it rides along in one of their transactions.
//!
//! So it costs no sync of its own. It counts in the bounds of the committer's queue and batch.

use super::SqliteStore;
use super::checkpoints::Request;
use super::commands::Prune;
use super::versions::VersionChange;
use crate::document::DocumentBatch;
use crate::error::StoreError;
use crate::snapshot::Snapshot;

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
                batch.documents.iter().map(|(key, body)| key.len() + body.len()).sum()
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
