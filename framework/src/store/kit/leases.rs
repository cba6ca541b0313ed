//! Leases in this process's memory, for stores that no other process can write to.
//!
//! Of one SQLite file there is one writing process, held by a file lock: a table in memory is
//! enough, costs no sync, and no start waits until the lease of a dead process expires.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use uuid::Uuid;

use crate::error::StoreError;
use crate::store::contract::{CheckpointUpdate, Lease, LeaseStore, VersionStore};

/// The leases of one store; clones are the same.
#[derive(Clone, Default)]
pub struct Leases {
    /// The greatest token that anything was stored under by a process before: ours are greater.
    before: Arc<AtomicU64>,
    grants: Arc<Mutex<HashMap<String, Grant>>>,
    /// Processes that could own partitions, by model, and the time until which they are known.
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
    /// Leases of a database in which something is written under tokens up to `past`. Every new
    /// token is greater, so a write of a former process that arrives late is refused.
    pub fn after(past: u64) -> Self {
        Self { before: Arc::new(AtomicU64::new(past)), ..Self::default() }
    }

    fn grants(&self) -> MutexGuard<'_, HashMap<String, Grant>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn members(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<Uuid, Instant>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on all tokens are greater than this one.
    pub fn grant_above(&self, token: u64) {
        self.before.fetch_max(token, Ordering::Relaxed);
    }

    /// See `LeaseStore::acquire_lease`.
    pub fn acquire(&self, name: &str, owner: Uuid, duration: Duration) -> Option<Lease> {
        // `Instant` and not the time of day, because a clock that is set back would keep a dead owner.
        let (now, mut grants) = (Instant::now(), self.grants());
        let last = grants.get(name);
        let is_held =
            |last: &Grant| last.owner.is_some_and(|held| held != owner && now < last.until);
        if last.is_some_and(is_held) {
            return None;
        }
        // A new token for the present owner too, so that whatever it sent under the old one is refused.
        let before = self.before.load(Ordering::Relaxed);
        let token = last.map_or(0, |last| last.token).max(before) + 1;
        grants.insert(name.to_owned(), Grant { owner: Some(owner), token, until: now + duration });
        Some(Lease { name: name.to_owned(), owner, token })
    }

    /// See `LeaseStore::renew_lease`.
    pub fn renew(&self, lease: &Lease, duration: Duration) -> bool {
        self.with(lease, |grant| grant.until = Instant::now() + duration)
    }

    /// See `LeaseStore::release_lease`.
    pub fn release(&self, lease: &Lease) {
        self.with(lease, |grant| grant.owner = None);
    }

    /// Checks that a write under this lease is still allowed.
    pub fn is_held(&self, lease: &Lease) -> bool {
        self.with(lease, |_| {})
    }

    /// Checks the lease of a checkpoint update.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]: nothing may be written under this lease any more.
    pub fn check(&self, update: &CheckpointUpdate) -> Result<(), StoreError> {
        let name = update.partition.to_string();
        match update.lease.name == name && self.is_held(&update.lease) {
            true => Ok(()),
            false => Err(StoreError::LeaseLost { name }),
        }
    }

    /// Makes all leases of a model's partitions void, because the model is dropped.
    pub fn void(&self, model: &str) {
        for (name, grant) in self.grants().iter_mut() {
            if name.strip_prefix(model).is_some_and(|partition| partition.starts_with('/')) {
                // The grant stays, so that the next token is greater than this one.
                grant.owner = None;
            }
        }
    }

    /// See `LeaseStore::holders`.
    pub fn holders(&self, names: &[String]) -> Vec<Option<Uuid>> {
        let (now, grants) = (Instant::now(), self.grants());
        let holder = |name| grants.get(name).filter(|last: &&Grant| now < last.until)?.owner;
        names.iter().map(holder).collect()
    }

    /// See `LeaseStore::join`.
    pub fn join(&self, model: &str, process: Uuid, duration: Duration) -> Vec<Uuid> {
        let (now, mut members) = (Instant::now(), self.members());
        let members = members.entry(model.to_owned()).or_default();
        // A process that died never leaves, so its entry is removed by the next one that joins.
        members.retain(|_, until| now < *until);
        members.insert(process, now + duration);
        members.keys().copied().collect()
    }

    /// See `LeaseStore::leave`.
    pub fn leave(&self, model: &str, process: Uuid) {
        if let Some(members) = self.members().get_mut(model) {
            members.remove(&process);
        }
    }

    /// Runs `act` if the lease is the last grant of its name and was not released; else returns
    /// false.
    fn with(&self, lease: &Lease, act: impl FnOnce(&mut Grant)) -> bool {
        let mut grants = self.grants();
        let grant = grants.get_mut(&lease.name);
        let grant = grant.filter(|last| last.token == lease.token && last.owner.is_some());
        grant.map(act).is_some()
    }
}

/// A store that keeps its leases in memory. It implements [`LeaseStore`] by that.
///
/// This is right for a store that only one process can write to. A write must check the lease with
/// [`Leases::check`] under the lock or in the transaction in which it is stored.
pub trait InMemoryLeases: Send + Sync + 'static {
    /// Leases of this store.
    fn leases(&self) -> &Leases;
}

#[async_trait]
impl<S: InMemoryLeases + VersionStore> LeaseStore for S {
    async fn acquire_lease(
        &self,
        name: &str,
        owner: Uuid,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        Ok(self.leases().acquire(name, owner, duration))
    }

    async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Result<bool, StoreError> {
        Ok(self.leases().renew(lease, duration))
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        self.leases().release(lease);
        Ok(())
    }

    async fn holders(&self, names: &[String]) -> Result<Vec<Option<Uuid>>, StoreError> {
        Ok(self.leases().holders(names))
    }

    async fn join(
        &self,
        model: &str,
        process: Uuid,
        duration: Duration,
    ) -> Result<Vec<Uuid>, StoreError> {
        Ok(self.leases().join(model, process, duration))
    }

    async fn leave(&self, model: &str, process: Uuid) -> Result<(), StoreError> {
        self.leases().leave(model, process);
        Ok(())
    }
}
