//! The contract of leases: exclusive rights of one process among several on one log.
//!
//! A [`Lease`] lasts for some time and is renewed. A process that stops renewing it loses it. That
//! alone does not stop a process that was only asleep, so each grant has a greater [`Lease::token`]
//! (a fencing token). Every write under a lease carries its token, and the store refuses any token
//! but the last.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::pause::name_and_version;
use super::version_store::{VersionNote, VersionStore};
use crate::error::StoreError;

/// The right to write under a name, as it was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Name of the lease, such as the partition `balance@1/0`.
    pub name: String,
    /// Process that the lease was granted to.
    pub owner: Uuid,
    /// Fencing token. Each grant of a name has a greater token than all grants before.
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
    /// Names of leases whose holders are to be returned.
    pub partitions: Vec<String>,
}

/// Reply to a [`Renewal`], each list in the order of the renewal's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewed {
    /// For each lease, `true` if it was renewed. Otherwise it is lost, or its row was locked:
    /// [`LeaseStore::renew_lease`] shows which.
    pub leases: Vec<bool>,
    /// For each model, the ids of its members, in order.
    pub members: Vec<Vec<Uuid>>,
    /// For each partition, the process that holds its lease.
    pub holders: Vec<Option<Uuid>>,
    /// For each model, the note [`VersionNote::Pause`] of its version.
    pub pauses: Vec<Option<String>>,
}

/// A store of leases. Leases expire by the store's own clock, never by the clock of a caller.
#[async_trait]
pub trait LeaseStore: VersionStore {
    /// Grants the lease for `duration` from now, with a new token. Returns `None` while another
    /// process holds it. If the owner holds it already, the lease is granted anew and the old token
    /// becomes void.
    ///
    /// The new owner sees everything that was stored under the lease before. A write with an older
    /// token that is still running has either been stored by then or will be refused.
    ///
    /// # Errors
    /// The store is not available. The lease may have been granted nevertheless: call again.
    async fn acquire_lease(
        &self,
        name: &str,
        owner: Uuid,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError>;

    /// Extends the lease to `duration` from now. Returns `false` if it is lost: granted again, or
    /// released. A lease that has expired and was not granted again is not lost.
    ///
    /// # Errors
    /// The store is not available.
    async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Result<bool, StoreError>;

    /// Releases the lease, so that another process can acquire it at once. The token becomes void.
    /// Does nothing if the lease is lost.
    ///
    /// # Errors
    /// The store is not available.
    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Returns the current holder of each of these leases, in the same order.
    ///
    /// # Errors
    /// The store is not available.
    async fn holders(&self, names: &[String]) -> Result<Vec<Option<Uuid>>, StoreError>;

    /// Makes the process a member of the model for `duration`: a process that can own partitions.
    /// Returns all members ordered by id, including this one, from which each computes its fair
    /// share.
    ///
    /// # Errors
    /// The store is not available.
    async fn join(
        &self,
        model: &str,
        process: Uuid,
        duration: Duration,
    ) -> Result<Vec<Uuid>, StoreError>;

    /// Renews everything that a process holds and reads what it shares with others.
    ///
    /// Each process calls this once a second, so a store on a server should execute one statement for
    /// it. The statement must not wait for a row that another transaction has locked, because
    /// all other leases of the process would expire meanwhile.
    ///
    /// # Errors
    /// The store is not available. A part may be renewed.
    async fn renew_all(&self, renewal: &Renewal) -> Result<Renewed, StoreError> {
        let Renewal { process, duration, leases, models, partitions } = renewal;
        let mut renewed = Renewed::default();
        for lease in leases {
            renewed.leases.push(self.renew_lease(lease, *duration).await?);
        }
        for model in models {
            renewed.members.push(self.join(model, *process, *duration).await?);
            let pause = match name_and_version(model) {
                Some((name, version)) => {
                    self.version_note(name, version, VersionNote::Pause).await?
                }
                None => None,
            };
            renewed.pauses.push(pause);
        }
        if !partitions.is_empty() {
            renewed.holders = self.holders(partitions).await?;
        }
        Ok(renewed)
    }

    /// Ends the membership of a process, because it will own no partition of the model any more.
    ///
    /// # Errors
    /// The store is not available.
    async fn leave(&self, model: &str, process: Uuid) -> Result<(), StoreError>;
}
