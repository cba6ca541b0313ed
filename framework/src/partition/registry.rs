//! The registry of a process: the leases and memberships that its renewal task renews.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::info;

use super::PartitionProgress;
use super::aside::Aside;
use crate::store::contract::{Lease, Pause};

/// Leases and memberships to renew. The registry does not keep the store open.
#[derive(Default)]
pub(super) struct Registry {
    state: Mutex<State>,
    pub(super) wake: Notify,
}

#[derive(Default)]
pub(super) struct State {
    next_key: u64,
    pub(super) leases: BTreeMap<u64, Held>,
    pub(super) models: BTreeMap<u64, Model>,
    /// The task is gone, so nothing is renewed any more.
    pub(super) has_ended: bool,
}

/// A lease that is held here.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) until: watch::Sender<Option<Instant>>,
    /// A call of its own renews it, because the call for all could not.
    pub(super) is_asking: bool,
}

/// A model whose partitions this process shares with others.
pub(super) struct Model {
    pub(super) name: String,
    pub(super) partitions: Vec<String>,
    pub(super) progress: Vec<Arc<PartitionProgress>>,
    pub(super) assigned: Vec<watch::Sender<bool>>,
    pub(super) aside: Arc<Aside>,
    /// While it is paused no partition is assigned to this process.
    pub(super) pause: Option<Pause>,
    pub(super) is_leaving: bool,
    /// Closed once the other members know that this process has left.
    pub(super) _gone: watch::Receiver<()>,
}

/// An entry of the registry, removed when this is dropped.
pub(super) struct Registration {
    registry: Weak<Registry>,
    key: u64,
}

impl Registry {
    /// Nothing under the lock can panic half way, so a poisoned one is whole.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process owns nothing more of this model; the task tells the others.
    pub(super) fn leave(&self, key: u64) {
        if let Some(model) = self.state().models.get_mut(&key) {
            model.is_leaving = true;
        }
        // At once and not at the next renewal, because the others wait for the partitions until
        // then.
        self.wake.notify_one();
    }
}

impl Registration {
    pub(super) fn new(registry: &Arc<Registry>, key: u64) -> Self {
        Self { registry: Arc::downgrade(registry), key }
    }

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

impl State {
    /// A key that no lease and no model has.
    pub(super) fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Names of the leases that are held here.
    pub(super) fn held(&self) -> HashSet<&str> {
        self.leases.values().map(|held| &*held.lease.name).collect()
    }
}

impl Model {
    /// This process owns nothing more of it: it leaves, or all its partitions have ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_leaving || self.assigned.iter().all(watch::Sender::is_closed)
    }

    /// Pauses the model, or resumes it with `None`. An owner finishes its work, saves and releases its
    /// lease, as it does for a rebalance. The lease is not kept, because then no process needs a rule
    /// of its own for a paused partition: each is a standby, and a replay can acquire the lease.
    pub(super) fn pause(&mut self, pause: Option<Pause>) {
        if self.pause == pause {
            return;
        }
        match &pause {
            Some(Pause { reason, .. }) => info!(model = %self.name, %reason, "is paused"),
            None => info!(model = %self.name, "is resumed"),
        }
        self.progress.iter().for_each(|partition| partition.pause(pause.clone()));
        self.pause = pause;
        if self.pause.is_some() {
            for sender in &self.assigned {
                sender.send_if_modified(|now| std::mem::replace(now, false));
            }
        }
    }

    /// Hands out the assignments. An owner is woken only if its assignment changed, because an idle
    /// partition should cost nothing; all others look again, and may now be granted the lease.
    pub(super) fn assign(&self, assigned: Vec<bool>, held: &HashSet<&str>) {
        for ((name, sender), is_ours) in self.partitions.iter().zip(&self.assigned).zip(assigned) {
            let (is_held, is_ours) = (held.contains(&**name), is_ours && self.pause.is_none());
            sender.send_if_modified(|now| {
                let has_changed = std::mem::replace(now, is_ours) != is_ours;
                has_changed || !is_held
            });
        }
    }
}
