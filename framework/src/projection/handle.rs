//! Handle of a running projection, for queries, status and shutdown.

use std::sync::Arc;
use std::time::Duration;

use super::ComparedRows;
use crate::partition::{FollowerControl, Followers};
use crate::store::contract::{CheckpointStore, PartitionId, ProjectionDatabase};

/// A running projection.
pub(crate) struct ProjectorHandle {
    pub(super) followers: Followers,
    pub(super) ids: Vec<PartitionId>,
    pub(super) database: Arc<dyn ProjectionDatabase>,
    /// Interval at which a query looks for the position that it waits for in another process.
    pub(super) look_every: Duration,
    pub(super) compared: &'static [ComparedRows],
}

impl ProjectorHandle {
    pub(super) fn new(
        followers: Followers,
        database: Arc<dyn ProjectionDatabase>,
        look_every: Duration,
        compared: &'static [ComparedRows],
    ) -> Self {
        let ids = followers.progress.iter().map(|partition| partition.id().clone()).collect();
        Self { followers, ids, database, look_every, compared }
    }
}

impl FollowerControl for ProjectorHandle {
    fn followers(&self) -> &Followers {
        &self.followers
    }

    fn checkpoints(&self) -> Option<&dyn CheckpointStore> {
        Some(&*self.database)
    }
}
