//! Repeating a call to the store until the store replies.

use std::sync::Arc;

use tracing::warn;

use super::progress::PartitionProgress;
use crate::backoff::Backoff;
use crate::error::StoreError;

/// The attempts at one call to the store on behalf of a partition.
#[derive(Clone)]
pub(crate) struct Retry {
    progress: Arc<PartitionProgress>,
    backoff: Backoff,
}

impl Retry {
    pub(crate) fn new(progress: Arc<PartitionProgress>, backoff: Backoff) -> Self {
        Self { progress, backoff }
    }

    /// Repeats a call until the store replies.
    ///
    /// # Errors
    /// Another attempt cannot help.
    pub(crate) async fn call<T, F>(mut self, mut call: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        loop {
            match call().await {
                Ok(done) => return Ok(done),
                Err(error) => self.after(error).await?,
            }
        }
    }

    /// Waits before the next attempt if the store may reply later.
    ///
    /// # Errors
    /// The error itself, if another attempt cannot help.
    pub(crate) async fn after(&mut self, error: StoreError) -> Result<(), StoreError> {
        if !is_transient(&error) {
            return Err(error);
        }
        self.progress.failed(&error);
        warn!(partition = %self.progress.id(), %error, "the store did not reply; trying again");
        self.backoff.wait().await;
        Ok(())
    }
}

/// Checks that the same call may succeed later: the store did not reply, or nobody knows the outcome.
pub(crate) fn is_transient(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_))
}
