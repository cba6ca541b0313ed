//! Closing a store, so that each database is one file: readers first, then the writer.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::SqliteStore;
use super::path::{WAL, WAL_INDEX, beside};
use crate::error::StoreError;

/// Bounds the wait for reads that are under way, for each file and the writer.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(10);

impl SqliteStore {
    /// Closes the store, also for its clones: writes what is queued, then moves the log into its
    /// file, so that no `-wal` and no `-shm` is left beside it or beside the file of a projection.
    /// Calls after that fail.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] names the file that could not be closed so, and why: another
    /// program reads it, or a batch is still in doubt. Nothing is lost: keep the files together, and
    /// the next start recovers them.
    pub async fn close(&self) -> Result<(), StoreError> {
        let projections: Vec<_> =
            self.projections().drain(..).filter_map(|p| p.upgrade()).collect();
        let mut wrong = Vec::new();
        for projection in &projections {
            wrong.extend(projection.close().await.err());
        }
        if timeout(CLOSE_WITHIN, self.readers.close()).await.is_err() {
            tracing::warn!(store = %self.place, "reads are still under way as the store closes");
        }
        match timeout(CLOSE_WITHIN, self.committer.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => wrong.push(reason),
            Err(_) => {
                wrong.push(format!("{}: the outcome of a batch is still unknown", self.place))
            }
        }
        wrong.extend(projections.iter().filter_map(|projection| left_beside(&projection.path)));
        wrong.extend(left_beside(&self.opening.held.path));
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(StoreError::Unavailable(wrong.join("; "))),
        }
    }
}

/// Names the side files that a clean stop should not leave.
fn left_beside(path: &Path) -> Option<String> {
    let left = [WAL, WAL_INDEX].map(|suffix| beside(path, suffix));
    let left: Vec<_> =
        left.iter().filter(|file| file.exists()).map(|f| f.display().to_string()).collect();
    (!left.is_empty()).then(|| {
        format!(
            "{} left beside the database, because another program has it open or its log could not \
             be moved: keep the files together",
            left.join(" and ")
        )
    })
}
