//! The contract of leases: who, of several processes on one log, may do what only one may do.
//!
//! A [`Lease`] is held for a time and renewed; whoever stops renewing loses it. That alone stops
//! nobody who only sleeps: so each change of owner makes a greater [`Lease::token`], everything
//! written under a lease carries its token, and the store refuses any but the last.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::StoreError;

/// The right to write under a name, as it was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Name of the lease, such as the partition `balance@1/0`.
    pub name: String,
    /// Whom it was granted to.
    pub owner: Uuid,
    /// The fencing token: of one name, each grant has a greater one than those before.
    pub token: u64,
}

/// Everything that one process renews once a period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The process.
    pub process: Uuid,
    /// Time for which its leases and memberships last from now on.
    pub duration: Duration,
    /// Leases that it holds.
    pub leases: Vec<Lease>,
    /// Models that it is a member of.
    pub models: Vec<String>,
    /// Names of leases whose holders it asks for.
    pub partitions: Vec<String>,
}

/// Reply to a [`Renewal`], each list in the order of the renewal's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewed {
    /// For each lease, `true` if it was renewed. One that was not is lost, or its row was busy:
    /// [`LeaseStore::renew_lease`] tells which.
    pub leases: Vec<bool>,
    /// For each model, the ids of its members, in order.
    pub members: Vec<Vec<Uuid>>,
    /// For each partition, the process that holds its lease.
    pub holders: Vec<Option<Uuid>>,
}

/// A store of leases. When one has expired is told by the store's own clock, never by a caller's.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// Grants the lease for `duration` from now, under a new token; `None` while somebody else
    /// holds it. An owner that holds it already is granted it anew, and its old token is void.
    ///
    /// Whoever is granted a lease finds all that was stored under it before: a write under way with
    /// an older token has either been stored by then or will be refused.
    ///
    /// # Errors
    /// The store did not answer. It may have granted the lease all the same: ask again.
    async fn acquire_lease(
        &self,
        name: &str,
        owner: Uuid,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError>;

    /// Holds the lease for `duration` from now; `false` if it is lost: granted again, or released.
    /// One that has expired but that nobody took is not lost.
    ///
    /// # Errors
    /// The store did not answer.
    async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Result<bool, StoreError>;

    /// Gives the lease up, so that another can be granted it at once; its token is void. Nothing
    /// happens if it is lost already.
    ///
    /// # Errors
    /// The store did not answer.
    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError>;

    /// The present holder of each of these leases, in their order.
    ///
    /// # Errors
    /// The store did not answer.
    async fn holders(&self, names: &[String]) -> Result<Vec<Option<Uuid>>, StoreError>;

    /// Makes a process known for `duration` as one that could own partitions of a model; answers all
    /// that are, this one included, by id. So each can tell what its fair share is.
    ///
    /// # Errors
    /// The store did not answer.
    async fn join(
        &self,
        model: &str,
        process: Uuid,
        duration: Duration,
    ) -> Result<Vec<Uuid>, StoreError>;

    /// Renews everything that a process holds and reads what it shares with others.
    ///
    /// Each process calls this once a second, so a store on a server should answer it with one
    /// statement. The statement must not wait for a row that another transaction has locked, because
    /// all other leases of the process would expire meanwhile.
    ///
    /// # Errors
    /// The store did not reply; some of it may be renewed.
    async fn renew_all(&self, renewal: &Renewal) -> Result<Renewed, StoreError> {
        let Renewal { process, duration, leases, models, partitions } = renewal;
        let mut renewed = Renewed::default();
        for lease in leases {
            renewed.leases.push(self.renew_lease(lease, *duration).await?);
        }
        for model in models {
            renewed.members.push(self.join(model, *process, *duration).await?);
        }
        if !partitions.is_empty() {
            renewed.holders = self.holders(partitions).await?;
        }
        Ok(renewed)
    }

    /// The process will own nothing more of it.
    ///
    /// # Errors
    /// The store did not answer.
    async fn leave(&self, model: &str, process: Uuid) -> Result<(), StoreError>;
}
