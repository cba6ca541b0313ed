//! Membership: one task per process renews every lease and every membership of the process.
//!
//! There is no coordinator. Once a period one call to the store renews all leases that are held here,
//! makes this process known as a member of each model it runs, and reads the other members and the
//! holders. From these each process works out its own [`fair_share`]. One call per process and not
//! per partition, because on a server each call is a synced commit: a hundred idle read models would
//! otherwise cost hundreds of them a second.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::warn;
use uuid::Uuid;

use super::Pacing;
use super::assignment::{Aside, Assignment};
use super::fair_share::fair_share;
use crate::error::StoreError;
use crate::store::contract::{Lease, PartitionId, Renewal, Renewed, Store};
use crate::threads::Task;

type Spawn = Arc<dyn Fn(Task) + Send + Sync>;

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

/// What is renewed. Who holds only this does not keep the store open.
#[derive(Default)]
pub(super) struct Registry {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    next_key: u64,
    leases: BTreeMap<u64, Held>,
    models: BTreeMap<u64, Model>,
    /// The task is gone, so nothing is renewed any more.
    has_ended: bool,
}

/// A lease that is held here.
struct Held {
    lease: Lease,
    until: watch::Sender<Option<Instant>>,
    /// It is renewed by a call of its own, because the call for all could not.
    is_asking: bool,
}

/// A model whose partitions this process shares with others.
struct Model {
    name: String,
    partitions: Vec<String>,
    assigned: Vec<watch::Sender<bool>>,
    aside: Arc<Aside>,
    is_leaving: bool,
    /// Closed once the other members know that this process has left.
    _gone: watch::Receiver<()>,
}

/// An entry of the registry, removed when this is dropped.
pub(super) struct Registration {
    registry: Weak<Registry>,
    key: u64,
}

/// This process as a member of one model.
pub(crate) struct Membership {
    registry: Arc<Registry>,
    key: u64,
    gone: watch::Sender<()>,
}

impl Registry {
    /// Nothing under the lock can panic half way, so a poisoned one is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process owns nothing more of this model; the task tells the others.
    pub(super) fn leave(&self, key: u64) {
        if let Some(model) = self.state().models.get_mut(&key) {
            model.is_leaving = true;
        }
        self.wake.notify_one();
    }
}

impl Registration {
    /// Renews the lease no more.
    pub(super) fn end(&self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.state().leases.remove(&self.key);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.end();
    }
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
        if !state.has_ended {
            state.leases.insert(key, Held { lease, until: sender, is_asking: false });
        }
        (Registration { registry: Arc::downgrade(&self.registry), key }, receiver)
    }

    /// Makes this process a member of a model. Returns the assignment of each partition.
    ///
    /// # Errors
    /// The store did not reply.
    pub(crate) async fn join(
        &self,
        model: &str,
        partitions: u32,
    ) -> Result<(Membership, Vec<Assignment>), StoreError> {
        let names = (0..partitions).map(|number| PartitionId::new(model, number).to_string());
        let names: Vec<_> = names.collect();
        let aside = Arc::new(Aside::default());
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
                assigned: senders,
                aside,
                is_leaving: false,
                _gone: going,
            };
            state.models.insert(key, model);
        }
        let registry = Arc::clone(&self.registry);
        Ok((Membership { registry, key, gone }, assignments))
    }

    /// The first look at one model, which decides what this process begins with.
    async fn look(
        &self,
        model: &str,
        partitions: &[String],
        aside: &Aside,
    ) -> Result<Vec<bool>, StoreError> {
        if self.store.is_sole_writer() {
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

impl State {
    fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Names of the leases that are held here.
    fn held(&self) -> HashSet<&str> {
        self.leases.values().map(|held| &*held.lease.name).collect()
    }
}

impl Membership {
    /// Leaves the model, so that the other members take its partitions. Returns when they know.
    pub(crate) async fn leave(&self) {
        self.registry.leave(self.key);
        self.gone.closed().await;
    }
}

/// What one round asks the store.
struct Round {
    /// Keys of the leases and models, in the order of the renewal.
    leases: Vec<u64>,
    models: Vec<u64>,
    renewal: Renewal,
}

struct RenewalTask {
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    process: Uuid,
    lease_for: Duration,
    spawn: Spawn,
}

impl RenewalTask {
    async fn run(self, every: Duration, mut stopped: watch::Receiver<()>) {
        let mut next = Instant::now() + every;
        loop {
            tokio::select! {
                // Nothing is ever sent: this ends when the last renewer is dropped.
                _ = stopped.changed() => return,
                () = self.registry.wake.notified() => self.leave_models().await,
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
            if !self.store.is_sole_writer()
                && let Err(error) = self.store.leave(&model, self.process).await
            {
                warn!(%model, %error, "the other members count on this process until its membership expires");
            }
            self.registry.state().models.remove(&key);
        }
    }

    async fn renew(&self) {
        let round = self.round();
        for model in self.stepped_aside() {
            if let Err(error) = self.store.leave(&model, self.process).await {
                warn!(%model, %error, "the other members count on this process until its membership expires");
            }
        }
        if round.leases.is_empty() && round.models.is_empty() {
            return;
        }
        let asked = Instant::now();
        match self.store.renew_all(&round.renewal).await {
            Ok(renewed) => self.apply(&round, renewed, asked),
            Err(error) => warn!(%error, "leases and memberships cannot be renewed; trying again"),
        }
    }

    fn round(&self) -> Round {
        let state = self.registry.state();
        let leases = state.leases.iter().filter(|(_, held)| !held.is_asking);
        let (leases, renewed) = leases.map(|(key, held)| (*key, held.lease.clone())).unzip();
        let is_sole_writer = self.store.is_sole_writer();
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
        if self.store.is_sole_writer() {
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
        let Renewed { leases, members, holders } = renewed;
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
    /// However the task ends, nobody waits for it for ever.
    fn drop(&mut self) {
        let mut state = self.registry.state();
        state.has_ended = true;
        let ended = (std::mem::take(&mut state.leases), std::mem::take(&mut state.models));
        drop(state);
        drop(ended);
    }
}

impl Model {
    /// This process owns nothing more of it: it leaves, or all its partitions have ended.
    fn is_over(&self) -> bool {
        self.is_leaving || self.assigned.iter().all(watch::Sender::is_closed)
    }

    /// Hands out the assignments. An owner is woken only if its assignment changed, because an idle
    /// partition should cost nothing; all others look again, and may now be granted the lease.
    fn assign(&self, assigned: Vec<bool>, held: &HashSet<&str>) {
        for ((name, sender), is_ours) in self.partitions.iter().zip(&self.assigned).zip(assigned) {
            let is_held = held.contains(&**name);
            sender.send_if_modified(|now| {
                let has_changed = std::mem::replace(now, is_ours) != is_ours;
                has_changed || !is_held
            });
        }
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
