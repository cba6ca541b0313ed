//! The renewal task of a process: one call to the store once a period.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::warn;
use uuid::Uuid;

use super::fair_share::fair_share;
use super::registry::{Model, Registry};
use crate::store::contract::{Lease, Pause, Renewal, Renewed, Store};
use crate::threads::Task;

pub(super) type Spawn = Arc<dyn Fn(Task) + Send + Sync>;

/// Leases and memberships that one round renews.
struct Round {
    /// Keys of the leases and models, in the order of the renewal.
    leases: Vec<u64>,
    models: Vec<u64>,
    renewal: Renewal,
}

/// Renews everything in the registry of a process.
pub(super) struct RenewalTask {
    pub(super) registry: Arc<Registry>,
    pub(super) store: Arc<dyn Store>,
    pub(super) process: Uuid,
    pub(super) lease_for: Duration,
    pub(super) spawn: Spawn,
}

impl RenewalTask {
    pub(super) async fn run(self, every: Duration, mut stopped: watch::Receiver<()>) {
        let mut next = Instant::now() + every;
        loop {
            tokio::select! {
                // The others are told first, also by a process that stops.
                biased;
                () = self.registry.wake.notified() => self.leave_models().await,
                // Nothing is ever sent: this ends when the last renewer is dropped.
                _ = stopped.changed() => return,
                () = sleep_until(next) => {
                    self.leave_models().await;
                    self.renew().await;
                    next = Instant::now() + every;
                }
            }
        }
    }

    /// Tells the other members of the models that this process leaves, or has stepped aside from.
    async fn leave_models(&self) {
        let leaving: Vec<_> = {
            let state = self.registry.state();
            let leaving = state.models.iter().filter(|(_, model)| model.is_over());
            leaving.map(|(key, model)| (*key, model.name.clone())).collect()
        };
        for (key, model) in leaving {
            if !self.store.info().is_sole_writer
                && let Err(error) = self.store.leave(&model, self.process).await
            {
                warn!(%model, %error, "the other members count on this process until its membership expires");
            }
            self.registry.state().models.remove(&key);
        }
    }

    async fn renew(&self) {
        // Decided before the models that were left, so that none is joined again by this call.
        let round = self.round();
        for model in self.stepped_aside() {
            if let Err(error) = self.store.leave(&model, self.process).await {
                warn!(%model, %error, "the other members count on this process until its membership expires");
            }
        }
        // A process without followers then costs the store nothing.
        if round.leases.is_empty() && round.models.is_empty() {
            return;
        }
        // Taken before the call: the store counts from a later moment, and a lease must not seem to
        // last longer here than it does there.
        let asked = Instant::now();
        match self.store.renew_all(&round.renewal).await {
            Ok(renewed) => self.apply(&round, renewed, asked),
            Err(error) => warn!(%error, "leases and memberships cannot be renewed; trying again"),
        }
    }

    fn round(&self) -> Round {
        let state = self.registry.state();
        // One that a call of its own renews may be waiting for its row. In this call it would be
        // skipped each time.
        let leases = state.leases.iter().filter(|(_, held)| !held.is_asking);
        let (leases, renewed) = leases.map(|(key, held)| (*key, held.lease.clone())).unzip();
        let is_sole_writer = self.store.info().is_sole_writer;
        let here = |model: &&Model| !model.aside.is_on() && !model.is_over() && !is_sole_writer;
        let models: Vec<_> = state.models.iter().filter(|(_, model)| here(model)).collect();
        let renewal = Renewal {
            process: self.process,
            duration: self.lease_for,
            leases: renewed,
            models: models.iter().map(|(_, model)| model.name.clone()).collect(),
            partitions: models.iter().flat_map(|(_, model)| model.partitions.clone()).collect(),
        };
        Round { leases, models: models.iter().map(|(key, _)| **key).collect(), renewal }
    }

    /// Models that this process has stepped aside from: it is assigned nothing of them.
    fn stepped_aside(&self) -> Vec<String> {
        let state = self.registry.state();
        if self.store.info().is_sole_writer {
            let held = state.held();
            let all = |model: &Model| model.assign(vec![true; model.partitions.len()], &held);
            state.models.values().for_each(all);
            return Vec::new();
        }
        let held = state.held();
        let aside = state.models.values().filter(|model| model.aside.is_on());
        let aside = aside.map(|model| {
            model.assign(vec![false; model.partitions.len()], &held);
            model.name.clone()
        });
        aside.collect()
    }

    fn apply(&self, round: &Round, renewed: Renewed, asked: Instant) {
        let Renewed { leases, members, holders, pauses } = renewed;
        let mut state = self.registry.state();
        for (key, is_renewed) in round.leases.iter().zip(leases) {
            let Some(held) = state.leases.get_mut(key) else { continue };
            if is_renewed {
                held.until.send_replace(Some(asked + self.lease_for));
            } else {
                held.is_asking = true;
                (self.spawn)(Box::pin(ask(
                    Arc::clone(&self.store),
                    Arc::downgrade(&self.registry),
                    (*key, held.lease.clone(), self.lease_for),
                )));
            }
        }
        for (key, pause) in round.models.iter().zip(pauses) {
            if let Some(model) = state.models.get_mut(key) {
                model.pause(Pause::of(pause));
            }
        }
        let (state, mut holders) = (&*state, holders.into_iter());
        let held = state.held();
        for (key, members) in round.models.iter().zip(members) {
            let Some(model) = state.models.get(key) else { continue };
            let holders: Vec<_> = holders.by_ref().take(model.partitions.len()).collect();
            model.aside.saw(&members, self.process);
            model.assign(fair_share(&members, &holders, self.process), &held);
        }
    }
}

impl Drop for RenewalTask {
    /// However the task ends, every waiter is notified.
    fn drop(&mut self) {
        let mut state = self.registry.state();
        state.has_ended = true;
        let ended = (std::mem::take(&mut state.leases), std::mem::take(&mut state.models));
        // The waiters run when the senders are dropped, and they may ask for the lock.
        drop(state);
        drop(ended);
    }
}

/// Renews one lease that the call for all did not renew. It is lost, or its row is busy with a commit:
/// to wait for that row in the call for all would let every other lease expire meanwhile.
async fn ask(
    store: Arc<dyn Store>,
    registry: Weak<Registry>,
    (key, lease, lease_for): (u64, Lease, Duration),
) {
    let asked = Instant::now();
    let is_held = store.renew_lease(&lease, lease_for).await;
    let Some(registry) = registry.upgrade() else { return };
    let mut state = registry.state();
    let Some(held) = state.leases.get_mut(&key) else { return };
    held.is_asking = false;
    match is_held {
        Ok(true) => _ = held.until.send_replace(Some(asked + lease_for)),
        Ok(false) => {
            held.until.send_replace(None);
            state.leases.remove(&key);
        }
        Err(error) => {
            warn!(lease = %lease.name, %error, "a lease cannot be renewed; trying again");
        }
    }
}
