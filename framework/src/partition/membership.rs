//! Membership: one task per process renews every lease and every membership of the process.
//!
//! There is no coordinator. Once a period one call to the store renews all leases that are held here,
//! makes this process known as a member of each model it runs, and reads the other members and the
//! holders. From these each process works out its own [`fair_share`]. One call per process and not
//! per partition, because on a server each call is a synced commit: a hundred idle read models would
//! otherwise cost hundreds of them a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::aside::Aside;
use super::assignment::Assignment;
use super::fair_share::fair_share;
use super::registry::{Held, Model, Registration, Registry};
use super::renewal::{RenewalTask, Spawn};
use super::{Pacing, PartitionProgress};
use crate::error::StoreError;
use crate::store::contract::{Lease, Pause, Renewal, Renewed, Store, name_and_version};
use crate::threads::Task;

/// Renews what a process holds, until the last clone is gone.
#[derive(Clone)]
pub(crate) struct LeaseRenewer {
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    process: Uuid,
    lease_for: Duration,
    /// The task ends with the last of these.
    _stop: Arc<watch::Sender<()>>,
}

/// This process as a member of one model.
pub(crate) struct Membership {
    registry: Arc<Registry>,
    key: u64,
    gone: watch::Sender<()>,
}

impl LeaseRenewer {
    /// Starts the task. It must not run where the followers' own code runs, because that may block.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        process: Uuid,
        pacing: &Pacing,
        spawn: impl Fn(Task) + Send + Sync + 'static,
    ) -> Self {
        let (stop, stopped) = watch::channel(());
        let registry = Arc::<Registry>::default();
        let Pacing { lease_for, renew_every, .. } = *pacing;
        let spawn: Spawn = Arc::new(spawn);
        let task = RenewalTask {
            registry: Arc::clone(&registry),
            store: Arc::clone(&store),
            process,
            lease_for,
            spawn: Arc::clone(&spawn),
        };
        spawn(Box::pin(task.run(renew_every, stopped)));
        Self { registry, store, process, lease_for, _stop: Arc::new(stop) }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn process(&self) -> Uuid {
        self.process
    }

    pub(crate) fn lease_for(&self) -> Duration {
        self.lease_for
    }

    /// Asks the store whether a lease is still held.
    ///
    /// # Errors
    /// The store did not reply.
    pub(crate) async fn is_held(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.store.renew_lease(lease, self.lease_for).await
    }

    /// Renews a lease from now on. Returns until when it is surely held.
    pub(super) fn register(
        &self,
        lease: Lease,
        until: Instant,
    ) -> (Registration, watch::Receiver<Option<Instant>>) {
        let (sender, receiver) = watch::channel(Some(until));
        let mut state = self.registry.state();
        let key = state.key();
        // Without the task nobody would renew the lease. The sender is dropped, which tells the
        // session so.
        if !state.has_ended {
            state.leases.insert(key, Held { lease, until: sender, is_asking: false });
        }
        (Registration::new(&self.registry, key), receiver)
    }

    /// Makes this process a member of a model. Returns the assignment of each partition.
    ///
    /// # Errors
    /// The store did not reply.
    pub(crate) async fn join(
        &self,
        model: &str,
        progress: Vec<Arc<PartitionProgress>>,
    ) -> Result<(Membership, Vec<Assignment>), StoreError> {
        let names: Vec<_> = progress.iter().map(|partition| partition.id().to_string()).collect();
        let aside = Arc::new(Aside::default());
        // Each assignment begins with the fair share. Otherwise a new process would try to acquire
        // every lease that is free for a moment.
        let assigned = self.look(model, &names, &aside).await?;
        let (gone, going) = watch::channel(());
        let (senders, receivers): (Vec<_>, Vec<_>) =
            assigned.into_iter().map(watch::channel).unzip();
        let mut state = self.registry.state();
        let key = state.key();
        let assignments = receivers.into_iter().map(|is_ours| {
            Assignment::new(is_ours, (Arc::clone(&self.registry), key), Arc::clone(&aside))
        });
        let assignments = assignments.collect();
        if !state.has_ended {
            let model = Model {
                name: model.to_owned(),
                partitions: names,
                progress,
                assigned: senders,
                aside,
                pause: None,
                is_leaving: false,
                _gone: going,
            };
            state.models.insert(key, model);
        }
        let registry = Arc::clone(&self.registry);
        Ok((Membership { registry, key, gone }, assignments))
    }

    /// Pauses a model in this process, or resumes it with `None`. The other processes learn of it with
    /// the next renewal.
    pub(crate) fn pause(&self, model: &str, pause: Option<Pause>) {
        let mut state = self.registry.state();
        for known in state.models.values_mut().filter(|known| known.name == model) {
            known.pause(pause.clone());
        }
    }

    /// Looks whether a model is paused.
    ///
    /// # Errors
    /// The store did not reply.
    pub(super) async fn is_paused(&self, model: &str) -> Result<bool, StoreError> {
        let Some(version) = name_and_version(model) else { return Ok(false) };
        let pause = Pause::load(&*self.store, version).await?;
        let is_paused = pause.is_some();
        self.pause(model, pause);
        Ok(is_paused)
    }

    /// The first look at one model, which decides what this process begins with.
    async fn look(
        &self,
        model: &str,
        partitions: &[String],
        aside: &Aside,
    ) -> Result<Vec<bool>, StoreError> {
        // No other process can write, so there is nothing to share and nothing to ask.
        if self.store.info().is_sole_writer {
            return Ok(vec![true; partitions.len()]);
        }
        let renewal = Renewal {
            process: self.process,
            duration: self.lease_for,
            leases: Vec::new(),
            models: vec![model.to_owned()],
            partitions: partitions.to_vec(),
        };
        let Renewed { members, holders, .. } = self.store.renew_all(&renewal).await?;
        let members = members.into_iter().next().unwrap_or_default();
        aside.saw(&members, self.process);
        Ok(fair_share(&members, &holders, self.process))
    }
}

impl Membership {
    /// Leaves the model, so that the other members take its partitions. Returns when they know.
    pub(crate) async fn leave(&self) {
        self.registry.leave(self.key);
        // The task drops the receiver with the model, after the store has removed this process.
        self.gone.closed().await;
    }
}
