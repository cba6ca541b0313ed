//! The actor of a read model: it follows the log, keeps one document for each key, answers reads.
//!
//! What is folded is readable at once: the events are durable, and after a crash they are folded
//! again from the checkpoint. Documents and checkpoint are saved together, some time later, so a
//! document that changes a thousand times is written a few times. An event that cannot be applied
//! halts this read model, loudly, and nothing else.
//!
//! Of several processes on one log one owns a read model, by a lease: it folds and saves. The others
//! are standbys: they answer from what is saved, and one of them takes over.
//!
//! [`start`] gives a [`ReadModelHandle`]; the log arrives through a `Subscription`.

mod actor;
mod answers;
mod documents;
mod fold;
mod handle;
mod owner;
mod ownership;
mod read;
mod resume;
mod save;
mod standby;
mod term;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ArbiterHandle};
use tracing::info;
use uuid::Uuid;

use self::actor::ReadModelActor;
pub(crate) use self::handle::{Progress, ReadModelControl, ReadModelHandle, State};
use crate::checkpoint::PartitionId;
use crate::document::Store;
use crate::error::StartError;
use crate::read_model::ReadModel;
use crate::subscription::Tail;

/// The limits and the patience of one read model.
#[derive(Debug, Clone)]
pub(crate) struct ReadModelSettings {
    /// How many documents stay in memory. Those not saved yet stay in any case.
    pub(crate) hot_documents: usize,
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
    /// How many documents may be unsaved before folding pauses. This bounds memory.
    pub(crate) most_unsaved: usize,
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
    /// How often a standby tries to become the owner.
    pub(crate) acquire_every: Duration,
    /// How often a standby looks at the checkpoint while somebody waits for it.
    pub(crate) look_every: Duration,
}

impl Default for ReadModelSettings {
    fn default() -> Self {
        Self {
            hot_documents: 100_000,
            waiting_reads: 10_000,
            save_after: Duration::from_millis(200),
            save_after_shared: Duration::from_millis(25),
            save_at: 4_000,
            most_unsaved: 50_000,
            checkpoint_after: Duration::from_secs(1),
            flush_within: Duration::from_secs(10),
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(2),
            tick: Duration::from_millis(25),
            lease_for: Duration::from_secs(3),
            acquire_every: Duration::from_secs(1),
            look_every: Duration::from_millis(25),
        }
    }
}

/// `balance@1`: what documents and checkpoint are stored under.
fn versioned_name<M: ReadModel>() -> String {
    format!("{}@{}", M::NAME, M::VERSION)
}

/// The one partition of a read model.
fn partition(name: &str) -> PartitionId {
    PartitionId::new(name, 0)
}

/// Starts the read model `M` on an arbiter, from its checkpoint; `owner` names this process. If
/// another one owns the read model it starts as a standby.
///
/// # Errors
/// The store did not answer, or the checkpoint does not belong to this log.
pub(crate) async fn start<M: ReadModel>(
    arbiter: &ArbiterHandle,
    store: Arc<dyn Store>,
    tail: &Tail,
    owner: Uuid,
    settings: ReadModelSettings,
) -> Result<ReadModelHandle<M>, StartError> {
    let name = versioned_name::<M>();
    let head = store.head().await?;
    let attempt = ownership::attempt(&*store, &name, owner, settings.lease_for).await?;
    let position = term::position(attempt.checkpoint);
    info!(head = %head, "read model {name} resumes from position {position}");
    let progress = handle::Shared::new(position, head);
    let start = actor::Start {
        name: name.into(),
        store,
        sources: M::sources(),
        tail: tail.clone(),
        owner,
        attempt,
        progress: Arc::clone(&progress),
        settings: settings.clone(),
    };
    let addr = ReadModelActor::start_in_arbiter(arbiter, move |_| ReadModelActor::new(start));
    Ok(ReadModelHandle::new(addr, progress, settings))
}
