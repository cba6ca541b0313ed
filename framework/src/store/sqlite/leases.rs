//! Leases of an SQLite file. They are in the memory of the one process that has it open, because no
//! other one can write to it.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::SqliteStore;
use crate::error::StoreError;
use crate::store::contract::{Lease, LeaseStore};

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn acquire_lease(
        &self,
        name: &str,
        owner: Uuid,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let granted = self.leases.acquire(name, owner, duration);
        if granted.as_ref().is_some_and(|lease| lease.token > 1) {
            // What was queued under an older token is stored or refused before this is answered.
            self.committer.append(Vec::new()).await;
        }
        Ok(granted)
    }

    async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Result<bool, StoreError> {
        Ok(self.leases.renew(lease, duration))
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        self.leases.release(lease);
        Ok(())
    }

    async fn holders(&self, names: &[String]) -> Result<Vec<Option<Uuid>>, StoreError> {
        Ok(self.leases.holders(names))
    }

    async fn join(
        &self,
        model: &str,
        process: Uuid,
        duration: Duration,
    ) -> Result<Vec<Uuid>, StoreError> {
        Ok(self.leases.join(model, process, duration))
    }

    async fn leave(&self, model: &str, process: Uuid) -> Result<(), StoreError> {
        self.leases.leave(model, process);
        Ok(())
    }
}
