//! Starting a read model: an actor and a driver for each partition.
//!
//! A read model is divided into partitions by the hash of the key, each with a checkpoint, documents
//! and a lease. Of several processes on one log each owns its fair share of them: it folds and saves
//! those. Of the others it is a standby: it answers from what is saved, and may take over.

use std::sync::Arc;

use actix::Actor;
use tokio::sync::watch;
use tracing::info;

use super::actor::{self, Order, ReadModelActor};
use super::follower::ReadModelFollower;
use super::handle::{Partition, ReadModelHandle};
use super::{ReadModel, shape};
use crate::aggregate::Arbiters;
use crate::clock::Clock;
use crate::error::{StartError, StoreError};
use crate::event::GlobalPosition;
use crate::partition::{
    Driver, Followers, LeaseRenewer, Pacing, PartitionProgress, register_version,
};
use crate::store::contract::{Checkpoint, PartitionId, Store};
use crate::subscription::{Tail, verify};

/// Name under which documents and checkpoints are stored, such as `balance@1`.
pub(super) fn versioned_name<M: ReadModel>() -> String {
    format!("{}@{}", M::NAME, M::VERSION)
}

/// Progress of a partition at its checkpoint, which fits the log.
async fn verified(
    store: &dyn Store,
    id: PartitionId,
    head: GlobalPosition,
) -> Result<(Arc<PartitionProgress>, Option<Checkpoint>), StoreError> {
    let checkpoint = store.load_checkpoint(&id).await?;
    let position = verify(store, &id.to_string(), checkpoint).await?;
    info!(%head, "read model {id} resumes from position {position}");
    Ok((PartitionProgress::new(id, position, head), checkpoint))
}

/// Starts the read model `M`: each partition from its checkpoint, on one arbiter after the other from
/// `first` on.
///
/// # Errors
/// The store did not reply, or a checkpoint does not belong to this log, or the version was built
/// with another number of partitions, or with a type that this program's does not decode.
pub(crate) async fn start<M: ReadModel>(
    arbiters: &Arbiters,
    first: u64,
    renewer: &LeaseRenewer,
    clock: Arc<dyn Clock>,
    tail: &Tail,
    pacing: Pacing,
) -> Result<ReadModelHandle<M>, StartError> {
    let store = Arc::clone(renewer.store());
    register_version(&*store, M::NAME, M::VERSION, M::PARTITIONS).await?;
    let name = versioned_name::<M>();
    shape::check::<M>(&*store, &name).await?;
    let head = store.head().await?;
    let mut checkpoints = Vec::new();
    for number in 0..M::PARTITIONS {
        checkpoints.push(verified(&*store, PartitionId::new(&*name, number), head).await?);
    }
    let (membership, assignments) = renewer.join(&name, M::PARTITIONS).await?;
    let each = pacing.divided(assignments.len());
    let (stop, stopping) = watch::channel(false);
    let mut partitions = Vec::new();
    for ((progress, checkpoint), assignment) in checkpoints.into_iter().zip(assignments) {
        let number = first + u64::from(progress.id().number);
        let start = actor::Start {
            partitions: M::PARTITIONS,
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            tail: tail.clone(),
            checkpoint,
            progress: Arc::clone(&progress),
            pacing: each.clone(),
        };
        let arbiter = arbiters.of(number);
        let addr = ReadModelActor::start_in_arbiter(arbiter, move |_| ReadModelActor::new(start));
        let (shared, stop_within) = (Arc::clone(&progress), pacing.stop_within);
        let follower =
            ReadModelFollower::new(addr.clone(), Arc::clone(&store), shared, stop_within);
        let driver = Driver {
            id: progress.id().clone(),
            store: Arc::clone(&store),
            tail: tail.clone(),
            renewer: renewer.clone(),
            pacing: each.clone(),
            progress: Arc::clone(&progress),
            assignment,
            stopping: stopping.clone(),
        };
        let (running, driven) = (progress.running(), addr.clone());
        // On the actor's thread, so that a page reaches the actor without a change of threads.
        arbiters.spawn(number, async move {
            driver.run(follower).await;
            driven.do_send(Order::End);
            drop(running);
        });
        partitions.push(Partition { addr, progress });
    }
    let followers = Followers {
        name: M::NAME,
        version: M::VERSION,
        filter: M::sources().routes.filter(),
        progress: partitions.iter().map(|partition| Arc::clone(&partition.progress)).collect(),
        stop,
        membership,
        stop_within: pacing.stop_within,
        sends_commands: false,
    };
    Ok(ReadModelHandle::new(partitions, followers, &store, pacing.waiting_reads))
}
