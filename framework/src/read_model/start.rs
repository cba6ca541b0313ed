//! Starting a read model: an actor and a driver for each partition.
//!
//! A read model is divided into partitions by the hash of the key, each with a checkpoint, documents
//! and a lease. Of several processes on one log each owns its fair share of them: it folds and saves
//! those. Of the others it is a standby: it answers from what is saved, and may take over.

use std::sync::Arc;

use actix::Actor;

use super::actor::{Order, ReadModelActor};
use super::follower::ReadModelFollower;
use super::handle::{Partition, ReadModelHandle};
use super::{ReadModel, shape};
use crate::aggregate::Arbiters;
use crate::clock::Clock;
use crate::error::StartError;
use crate::partition::{Followed, Launch, Launched, LeaseRenewer, Pacing, register_version};
use crate::subscription::Tail;

/// Name under which documents and checkpoints are stored, such as `balance@1`.
pub(super) fn versioned_name<M: ReadModel>() -> String {
    format!("{}@{}", M::NAME, M::VERSION)
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
    shape::check::<M>(&*store, &versioned_name::<M>()).await?;
    let head = store.head().await?;
    let each = pacing.divided(M::PARTITIONS as usize);
    let filter = M::sources().routes.filter();
    let (name, version, partitions) = (M::NAME, M::VERSION, M::PARTITIONS);
    let followed = Followed { name, version, partitions, filter, head };
    let launch = Launch { renewer, tail, pacing: &each };
    let (followers, launched) = launch.prepare(followed, &*store).await?;
    let mut partitions = Vec::new();
    for Launched { driver, checkpoint } in launched {
        let progress = Arc::clone(&driver.progress);
        let number = first + u64::from(progress.id().number);
        let (store, clock, tail) = (Arc::clone(&store), Arc::clone(&clock), tail.clone());
        let (shared, pacing) = (Arc::clone(&progress), each.clone());
        let (arbiter, stop_within) = (arbiters.of(number), pacing.stop_within);
        let stored = Arc::clone(&store);
        let addr = ReadModelActor::start_in_arbiter(arbiter, move |_| {
            ReadModelActor::new(store, clock, tail, shared, pacing, checkpoint)
        });
        let shared = Arc::clone(&progress);
        let follower = ReadModelFollower::new(addr.clone(), stored, shared, stop_within);
        let (running, driven) = (progress.running(), addr.clone());
        // On the actor's thread, so that a page reaches the actor without a change of threads.
        arbiters.spawn(number, async move {
            driver.run(follower).await;
            driven.do_send(Order::End);
            drop(running);
        });
        partitions.push(Partition { addr, progress });
    }
    Ok(ReadModelHandle::new(partitions, followers, &store, pacing.waiting_reads))
}
