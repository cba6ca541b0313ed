//! Asking the store again, however often it takes, and saying so.

use std::sync::Arc;

use tracing::warn;

use super::ReadModel;
use super::actor::ReadModelActor;
use crate::error::StoreError;
use crate::partition::{Pause, SharedProgress};
use crate::store::contract::PartitionId;

/// The patience of one question.
#[derive(Clone)]
pub(super) struct Retry {
    partition: Arc<PartitionId>,
    progress: Arc<SharedProgress>,
    pause: Pause,
}

impl Retry {
    /// Rests if the store may answer later; gives the error back if not.
    pub(super) async fn after(&mut self, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Unavailable(_) | StoreError::Unknown(_) => {
                self.progress.work.failed(&error);
                warn!(model = %self.partition, %error, "the store did not answer a read model; trying again");
                self.pause.rest().await;
                Ok(())
            }
            StoreError::Hole { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Checkpoint { .. }
            | StoreError::OtherHistory(_)
            | StoreError::LeaseLost { .. } => Err(error),
        }
    }
}

impl<M: ReadModel> ReadModelActor<M> {
    pub(super) fn retry(&self) -> Retry {
        let (partition, progress) = (Arc::clone(&self.partition), Arc::clone(&self.progress));
        Retry { partition, progress, pause: self.pause() }
    }
}
