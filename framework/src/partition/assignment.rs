//! Assignment: whether this process should own one partition.
//!
//! Only the lease decides who may write. An assignment is a wish, and may be late. Where no other
//! process can write, every partition is assigned to this one.

use std::sync::Arc;

use tokio::sync::watch;

use super::Pacing;
use super::aside::Aside;
use super::registry::Registry;
use crate::error::StartError;
use crate::store::contract::Store;

/// Largest number of partitions of a read model or projection.
const MOST_PARTITIONS: u32 = 1024;

/// Makes a version known to the store, with its number of partitions.
///
/// # Errors
/// The store did not reply, nothing can have so many partitions, or the version has another number.
pub(crate) async fn register_version(
    store: &dyn Store,
    name: &str,
    version: u32,
    partitions: u32,
) -> Result<(), StartError> {
    let model = format!("{name}@{version}");
    if partitions == 0 || partitions > MOST_PARTITIONS {
        return Err(StartError::Partitions { model, partitions });
    }
    let versions = store.register_version(name, version, partitions).await?;
    match versions.iter().find(|known| known.number == version) {
        Some(known) if known.partitions != partitions => {
            Err(StartError::OtherPartitions { model, partitions, stored: known.partitions })
        }
        _ => Ok(()),
    }
}

/// The assignment of one partition.
pub(crate) struct Assignment {
    is_ours: watch::Receiver<bool>,
    /// False once this process has left the model: what it holds it keeps, and it takes no more.
    is_member: bool,
    membership: (Arc<Registry>, u64),
    aside: Arc<Aside>,
}

impl Assignment {
    pub(super) fn new(
        is_ours: watch::Receiver<bool>,
        membership: (Arc<Registry>, u64),
        aside: Arc<Aside>,
    ) -> Self {
        Self { is_ours, is_member: true, membership, aside }
    }

    /// Checks that this process should own the partition now.
    pub(crate) fn is_ours(&self) -> bool {
        self.is_member && *self.is_ours.borrow()
    }

    /// Waits for the next look of the membership. An owner is woken only if its assignment changed.
    /// Once this process has left the model, this never returns.
    pub(crate) async fn next(&mut self) -> bool {
        if self.is_member && self.is_ours.changed().await.is_ok() {
            return *self.is_ours.borrow_and_update();
        }
        self.is_member = false;
        std::future::pending().await
    }

    /// Leaves the model, because this process cannot own this partition. It takes no other one
    /// either, so that another process, whose program may be newer, need not leave it its share.
    pub(crate) fn withdraw(&self) {
        let (registry, key) = &self.membership;
        registry.leave(*key);
    }

    /// Leaves all partitions of the model to the other members for a while, if there are any and if
    /// this process has not done so lately. The caller releases the lease.
    pub(crate) fn step_aside(&self, pacing: &Pacing) -> bool {
        self.aside.begin(pacing)
    }
}
