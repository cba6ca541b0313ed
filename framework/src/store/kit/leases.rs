//! Leases in this process's memory, for stores that no other process can write to.
//!
//! Of one SQLite file there is one writing process, held by a file lock: a table in memory is
//! enough, costs no sync, and no start waits until the lease of a dead process expires.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::error::StoreError;
use crate::store::contract::{CheckpointUpdate, Lease};

/// The leases of one store; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    /// The greatest token that anything was stored under by a process before: ours are greater.
    before: Arc<AtomicU64>,
    grants: Arc<Mutex<HashMap<String, Grant>>>,
    /// By model, the processes that could own partitions of it, and until when they are known.
    members: Arc<Mutex<HashMap<String, BTreeMap<Uuid, Instant>>>>,
}

/// The last grant of a name.
struct Grant {
    /// `None` once it was released.
    owner: Option<Uuid>,
    token: u64,
    until: Instant,
}

impl Leases {
    /// For a database in which something is written under tokens up to this one.
    #[allow(dead_code, reason = "not every store outlives its leases")]
    pub(crate) fn after(past: u64) -> Self {
        Self { before: Arc::new(AtomicU64::new(past)), ..Self::default() }
    }

    fn grants(&self) -> MutexGuard<'_, HashMap<String, Grant>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn members(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<Uuid, Instant>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on all tokens are greater than this one.
    pub(crate) fn grant_above(&self, token: u64) {
        self.before.fetch_max(token, Ordering::Relaxed);
    }

    pub(crate) fn acquire(&self, name: &str, owner: Uuid, duration: Duration) -> Option<Lease> {
        let (now, mut grants) = (Instant::now(), self.grants());
        let last = grants.get(name);
        let is_held =
            |last: &Grant| last.owner.is_some_and(|held| held != owner && now < last.until);
        if last.is_some_and(is_held) {
            return None;
        }
        let before = self.before.load(Ordering::Relaxed);
        let token = last.map_or(0, |last| last.token).max(before) + 1;
        grants.insert(name.to_owned(), Grant { owner: Some(owner), token, until: now + duration });
        Some(Lease { name: name.to_owned(), owner, token })
    }

    pub(crate) fn renew(&self, lease: &Lease, duration: Duration) -> bool {
        self.with(lease, |grant| grant.until = Instant::now() + duration)
    }

    pub(crate) fn release(&self, lease: &Lease) {
        self.with(lease, |grant| grant.owner = None);
    }

    /// Whether something may still be written under it.
    pub(crate) fn is_held(&self, lease: &Lease) -> bool {
        self.with(lease, |_| {})
    }

    /// # Errors
    /// [`StoreError::LeaseLost`]: nothing may be written under this lease any more.
    pub(crate) fn check(&self, update: &CheckpointUpdate) -> Result<(), StoreError> {
        let name = update.partition.to_string();
        match update.lease.name == name && self.is_held(&update.lease) {
            true => Ok(()),
            false => Err(StoreError::LeaseLost { name }),
        }
    }

    /// Makes all tokens of a model's partitions void.
    pub(crate) fn void(&self, model: &str) {
        for (name, grant) in self.grants().iter_mut() {
            if name.strip_prefix(model).is_some_and(|partition| partition.starts_with('/')) {
                grant.owner = None;
            }
        }
    }

    pub(crate) fn holders(&self, names: &[String]) -> Vec<Option<Uuid>> {
        let (now, grants) = (Instant::now(), self.grants());
        let holder = |name| grants.get(name).filter(|last: &&Grant| now < last.until)?.owner;
        names.iter().map(holder).collect()
    }

    pub(crate) fn join(&self, model: &str, process: Uuid, duration: Duration) -> Vec<Uuid> {
        let (now, mut members) = (Instant::now(), self.members());
        let members = members.entry(model.to_owned()).or_default();
        members.retain(|_, until| now < *until);
        members.insert(process, now + duration);
        members.keys().copied().collect()
    }

    pub(crate) fn leave(&self, model: &str, process: Uuid) {
        if let Some(members) = self.members().get_mut(model) {
            members.remove(&process);
        }
    }

    /// Whether the lease is the last grant of its name and not released; what is done with it then.
    fn with(&self, lease: &Lease, act: impl FnOnce(&mut Grant)) -> bool {
        let mut grants = self.grants();
        let grant = grants.get_mut(&lease.name);
        let grant = grant.filter(|last| last.token == lease.token && last.owner.is_some());
        grant.map(act).is_some()
    }
}
