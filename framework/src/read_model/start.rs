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
use std::time::Duration;

use actix::Actor;
use tracing::info;
use uuid::Uuid;

use super::actor::ReadModelActor;
use super::handle::{Partition, ReadModelHandle};
use super::{ReadModel, actor, owner, ownership, shape, term};
use crate::aggregate::Arbiters;
use crate::clock::Clock;
use crate::error::StartError;
use crate::partition::parking::ParkingSettings;
use crate::partition::{Assignment, AssignmentSettings, SharedProgress, register_version};
use crate::store::contract::{PartitionId, Store};
use crate::subscription::Tail;

/// The limits and the patience of one read model.
#[derive(Debug, Clone)]
pub(crate) struct ReadModelSettings {
    /// How many documents stay in memory. Those not saved yet stay in any case.
    pub(crate) hot_documents: usize,
    /// About how many bytes of documents stay in memory, as JSON.
    pub(crate) hot_bytes: usize,
    /// How many reads may wait; beyond it `Overloaded`.
    pub(crate) waiting_reads: usize,
    /// How long a changed document may stay unsaved. Four times that while catching up.
    pub(crate) save_after: Duration,
    /// The same where other processes answer from the store, and a checkpoint alone four times
    /// that; not while catching up.
    pub(crate) save_after_shared: Duration,
    /// How many changed documents are saved at once, without waiting. Four times that while
    /// catching up, when nobody's command waits behind the big write.
    pub(crate) save_at: usize,
    /// About how many bytes of changed documents are saved at once, also while catching up: so a
    /// save ends in the time that the database gives a statement.
    pub(crate) save_bytes: usize,
    /// How many documents may be unsaved before folding pauses. This bounds memory.
    pub(crate) most_unsaved: usize,
    /// About how many bytes of documents may be unsaved before folding pauses.
    pub(crate) most_unsaved_bytes: usize,
    /// How long a checkpoint may stay unsaved when no document changed.
    pub(crate) checkpoint_after: Duration,
    /// How long [`ReadModelControl::flush_and_stop`] tries to save.
    pub(crate) flush_within: Duration,
    /// The first pause after the store did not take a write; it doubles up to `longest_pause`.
    pub(crate) first_pause: Duration,
    /// See `first_pause`.
    pub(crate) longest_pause: Duration,
    /// How often the actor looks whether something has become due.
    pub(crate) tick: Duration,
    /// How long a lease lasts without being renewed; it is renewed every third of that.
    pub(crate) lease_for: Duration,
    /// How often the process looks what it should own.
    pub(crate) acquire_every: Duration,
    /// How often a standby looks at the checkpoint while somebody waits for it.
    pub(crate) look_every: Duration,
    /// How often an owner looks for requests while it has parked keys; asked in this process it looks
    /// at once.
    pub(crate) look_for_requests_every: Duration,
    /// The limits and the patience of parked keys.
    pub(crate) parking: ParkingSettings,
}

impl Default for ReadModelSettings {
    fn default() -> Self {
        Self {
            hot_documents: 100_000,
            hot_bytes: 64 << 20,
            waiting_reads: 10_000,
            save_after: Duration::from_millis(200),
            save_after_shared: Duration::from_millis(25),
            save_at: 4_000,
            save_bytes: 8 << 20,
            most_unsaved: 50_000,
            most_unsaved_bytes: 16 << 20,
            checkpoint_after: Duration::from_secs(1),
            flush_within: Duration::from_secs(10),
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(2),
            tick: Duration::from_millis(25),
            lease_for: Duration::from_secs(3),
            acquire_every: Duration::from_secs(1),
            look_every: Duration::from_millis(25),
            look_for_requests_every: Duration::from_secs(1),
            parking: ParkingSettings::default(),
        }
    }
}

impl ReadModelSettings {
    /// Those of each of so many partitions: what bounds memory bounds that of all together.
    fn divided(&self, partitions: usize) -> Self {
        Self {
            hot_documents: self.hot_documents.div_ceil(partitions),
            hot_bytes: self.hot_bytes.div_ceil(partitions),
            save_at: self.save_at.div_ceil(partitions),
            save_bytes: self.save_bytes.div_ceil(partitions),
            most_unsaved: self.most_unsaved.div_ceil(partitions),
            most_unsaved_bytes: self.most_unsaved_bytes.div_ceil(partitions),
            ..self.clone()
        }
    }
}

/// `balance@1`: what documents and checkpoint are stored under.
pub(super) fn versioned_name<M: ReadModel>() -> String {
    format!("{}@{}", M::NAME, M::VERSION)
}

/// Starts the read model `M`: each partition from its checkpoint, on one arbiter after the other from
/// `first` on. `owner` names this process; of what others own, or should, it is a standby.
///
/// # Errors
/// The store did not answer, or a checkpoint does not belong to this log, or the version was built
/// with another number of partitions, or with a type that this program's does not decode.
pub(crate) async fn start<M: ReadModel>(
    arbiters: &Arbiters,
    first: u64,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    tail: &Tail,
    owner: Uuid,
    settings: ReadModelSettings,
) -> Result<ReadModelHandle<M>, StartError> {
    register_version(&*store, M::NAME, M::VERSION, M::PARTITIONS).await?;
    let name = versioned_name::<M>();
    shape::check::<M>(&*store, &name).await?;
    let head = store.head().await?;
    let looks = AssignmentSettings { every: settings.acquire_every, lasts: settings.lease_for };
    let spawn = |task| arbiters.spawn(first, task);
    let (assignment, duties) =
        Assignment::start(Arc::clone(&store), &name, M::PARTITIONS, owner, looks, spawn).await?;
    let each = settings.divided(duties.len());
    let filter = owner::filter(&M::sources());
    let mut partitions = Vec::new();
    for (number, duty) in (0..M::PARTITIONS).zip(duties) {
        let partition = PartitionId::new(&*name, number);
        let attempt = match duty.owns() {
            true => ownership::attempt(&*store, &partition, owner, each.lease_for).await?,
            false => ownership::stand_by(&*store, &partition).await?,
        };
        let position = term::position(attempt.checkpoint);
        info!(head = %head, "read model {partition} resumes from position {position}");
        let progress = SharedProgress::new(&partition, position, head);
        let start = actor::Start {
            partition,
            partitions: M::PARTITIONS,
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            sources: M::sources(),
            tail: tail.clone(),
            owner,
            attempt,
            duty,
            progress: Arc::clone(&progress),
            settings: each.clone(),
        };
        let arbiter = arbiters.of(first + u64::from(number));
        let addr = ReadModelActor::start_in_arbiter(arbiter, move |_| ReadModelActor::new(start));
        partitions.push(Partition { addr, shared: progress });
    }
    Ok(ReadModelHandle::new(partitions, &store, assignment, filter, &settings))
}
