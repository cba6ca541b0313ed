//! Launching a follower: its partitions at their checkpoints, and a driver for each of them.
//!
//! Every checkpoint is verified before this process becomes a member, so a start that is refused
//! leaves nothing running.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::info;

use super::control::Followers;
use super::driver::Driver;
use super::membership::LeaseRenewer;
use super::{Pacing, PartitionProgress};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Checkpoint, CheckpointStore, Filter, PartitionId};
use crate::subscription::{Tail, verify};

/// The parts of an application that a follower runs on.
pub(crate) struct Launch<'a> {
    pub(crate) renewer: &'a LeaseRenewer,
    pub(crate) tail: &'a Tail,
    pub(crate) pacing: &'a Pacing,
}

/// The partitions of a follower under its name, and the events that it follows.
pub(crate) struct Followed {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) partitions: u32,
    pub(crate) filter: Filter,
    /// Until it has reached this position it catches up.
    pub(crate) head: GlobalPosition,
}

/// A partition that is ready to run.
pub(crate) struct Launched {
    pub(crate) driver: Driver,
    pub(crate) checkpoint: Option<Checkpoint>,
}

impl Launch<'_> {
    /// Verifies the checkpoints, makes this process a member, and creates the drivers.
    ///
    /// # Errors
    /// The store did not reply, or a checkpoint does not belong to this log.
    pub(crate) async fn prepare(
        &self,
        followed: Followed,
        checkpoints: &dyn CheckpointStore,
    ) -> Result<(Followers, Vec<Launched>), StoreError> {
        let Self { renewer, tail, pacing } = self;
        let Followed { name, version, partitions, filter, head } = followed;
        let (store, model) = (renewer.store(), format!("{name}@{version}"));
        let mut verified = Vec::new();
        for number in 0..partitions {
            let id = PartitionId::new(&*model, number);
            let checkpoint = checkpoints.load_checkpoint(&id).await?;
            let position = verify(&**store, &id.to_string(), checkpoint).await?;
            info!(partition = %id, %position, %head, "resumes from its checkpoint");
            verified.push((PartitionProgress::new(id, position, head), checkpoint));
        }
        let partitions = verified.iter().map(|(partition, _)| Arc::clone(partition)).collect();
        let (membership, assignments) = renewer.join(&model, partitions).await?;
        let (stop, stopping) = watch::channel(false);
        let (mut progress, mut launched) = (Vec::new(), Vec::new());
        for ((partition, checkpoint), assignment) in verified.into_iter().zip(assignments) {
            progress.push(Arc::clone(&partition));
            let driver = Driver {
                id: partition.id().clone(),
                store: Arc::clone(store),
                tail: Tail::clone(tail),
                renewer: LeaseRenewer::clone(renewer),
                pacing: Pacing::clone(pacing),
                progress: partition,
                assignment,
                stopping: stopping.clone(),
            };
            launched.push(Launched { driver, checkpoint });
        }
        let followers = Followers {
            name,
            version,
            filter,
            progress,
            stop,
            membership,
            stop_within: pacing.stop_within,
            sends_commands: false,
            derives_keys: false,
            replays: None,
        };
        Ok((followers, launched))
    }
}
