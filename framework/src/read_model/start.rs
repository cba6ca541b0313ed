//! The actor of a read model: it follows the log, keeps one document for each key, answers reads.
//!
//! What is folded is readable at once: the events are durable, and after a crash they are folded
//! again from the checkpoint. Documents and checkpoint are saved together, some time later, so a
//! document that changes a thousand times is written a few times. An event that cannot be applied
//! parks its key: that one stands still, all others go on.
//!
//! A read model is divided into partitions by the hash of the key, each an actor with a checkpoint and
//! a lease of its own. Of several processes on one log each owns its fair share of them: it folds and
//! saves those. Of the others it is a standby: it answers from what is saved, and may take over.
//!
//! [`start`] gives a [`ReadModelHandle`]; the log arrives through a `Subscription`.

use std::sync::Arc;

use actix::Actor;
use tracing::info;

use super::actor::ReadModelActor;
use super::handle::{Partition, ReadModelHandle};
use super::{ReadModel, actor, owner, ownership, shape, term};
use crate::aggregate::Arbiters;
use crate::clock::Clock;
use crate::error::StartError;
use crate::partition::{LeaseRenewer, Pacing, PartitionProgress, register_version};
use crate::store::contract::PartitionId;
use crate::subscription::Tail;

/// `balance@1`: what documents and checkpoint are stored under.
pub(super) fn versioned_name<M: ReadModel>() -> String {
    format!("{}@{}", M::NAME, M::VERSION)
}

/// Starts the read model `M`: each partition from its checkpoint, on one arbiter after the other from
/// `first` on. Of what others own, or
/// should, it is a standby.
///
/// # Errors
/// The store did not answer, or a checkpoint does not belong to this log, or the version was built
/// with another number of partitions, or with a type that this program's does not decode.
pub(crate) async fn start<M: ReadModel>(
    arbiters: &Arbiters,
    first: u64,
    renewer: &LeaseRenewer,
    clock: Arc<dyn Clock>,
    tail: &Tail,
    settings: Pacing,
) -> Result<ReadModelHandle<M>, StartError> {
    let store = Arc::clone(renewer.store());
    register_version(&*store, M::NAME, M::VERSION, M::PARTITIONS).await?;
    let name = versioned_name::<M>();
    shape::check::<M>(&*store, &name).await?;
    let head = store.head().await?;
    let (membership, assignments) = renewer.join(&name, M::PARTITIONS).await?;
    let each = settings.divided(assignments.len());
    let filter = owner::filter(&M::sources());
    let mut partitions = Vec::new();
    for (number, assignment) in (0..M::PARTITIONS).zip(assignments) {
        let partition = PartitionId::new(&*name, number);
        let attempt = match assignment.is_ours() {
            true => ownership::attempt(renewer, &partition).await?,
            false => ownership::stand_by(&*store, &partition).await?,
        };
        let position = term::position(attempt.checkpoint);
        info!(head = %head, "read model {partition} resumes from position {position}");
        let progress = PartitionProgress::new(partition.clone(), position, head);
        let start = actor::Start {
            partition,
            partitions: M::PARTITIONS,
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            sources: M::sources(),
            tail: tail.clone(),
            renewer: renewer.clone(),
            attempt,
            assignment,
            progress: Arc::clone(&progress),
            settings: each.clone(),
        };
        let arbiter = arbiters.of(first + u64::from(number));
        let addr = ReadModelActor::start_in_arbiter(arbiter, move |_| ReadModelActor::new(start));
        partitions.push(Partition { addr, shared: progress });
    }
    Ok(ReadModelHandle::new(partitions, &store, membership, filter, &settings))
}
