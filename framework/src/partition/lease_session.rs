//! A lease session: the right to write one partition, from its grant until it is released or lost.
//!
//! The [`LeaseRenewer`] renews the lease beside the work, so code that takes long does not lose it.
//! Time alone protects nothing: each write shows the lease's token, and the store refuses any but the
//! last. What leaves the store, where no token is checked, must begin before [`LeaseSession::until`].

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::membership::LeaseRenewer;
use super::registry::Registration;
use crate::error::StoreError;
use crate::store::contract::{Lease, PartitionId, Store};

/// A lease as it was granted, with the numbers of the saves that it allows. Clones share them.
#[derive(Clone)]
pub(crate) struct LeaseGrant {
    lease: Lease,
    sequence: Arc<AtomicU64>,
}

impl LeaseGrant {
    /// A grant under which so many saves were begun already.
    pub(crate) fn after(lease: Lease, saves: u64) -> Self {
        Self { lease, sequence: Arc::new(AtomicU64::new(saves)) }
    }

    /// A grant of nothing, before the first session: the store refuses every save under it.
    pub(crate) fn void() -> Self {
        Self::after(Lease { name: String::new(), owner: Uuid::nil(), token: 0 }, 0)
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Number of the next save, greater than that of any before it under this lease.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// A lease that is renewed as long as this is kept.
pub(crate) struct LeaseSession {
    grant: LeaseGrant,
    renewer: LeaseRenewer,
    registration: Registration,
    /// Time until which the lease is surely held; `None` once it is lost.
    until: watch::Receiver<Option<Instant>>,
    is_released: bool,
}

impl LeaseSession {
    /// Acquires the lease of a partition; `None` while another process holds it.
    ///
    /// # Errors
    /// The store did not reply.
    pub(crate) async fn acquire(
        renewer: &LeaseRenewer,
        partition: &PartitionId,
    ) -> Result<Option<Self>, StoreError> {
        let (name, lease_for) = (partition.to_string(), renewer.lease_for());
        // Taken before the call, because the store counts from a later moment: a lease must not
        // seem to last longer here than it does there.
        let asked = Instant::now();
        let lease = renewer.store().acquire_lease(&name, renewer.process(), lease_for).await?;
        Ok(lease.map(|lease| {
            let (registration, until) = renewer.register(lease.clone(), asked + lease_for);
            let (grant, renewer) = (LeaseGrant::after(lease, 0), renewer.clone());
            Self { grant, renewer, registration, until, is_released: false }
        }))
    }

    pub(crate) fn grant(&self) -> &LeaseGrant {
        &self.grant
    }

    pub(crate) fn lease(&self) -> &Lease {
        self.grant.lease()
    }

    /// Time until which the lease is surely held; `None` once it is lost.
    pub(crate) fn until(&self) -> Option<Instant> {
        *self.until.borrow()
    }

    /// Waits until the lease is lost, also beyond the life of this session.
    pub(crate) fn when_lost(&self) -> impl Future<Output = ()> + use<> {
        let mut until = self.until.clone();
        async move {
            // An error says that nothing renews it any more, which is the same.
            let _ = until.wait_for(Option::is_none).await;
        }
    }

    /// Asks the store whether the lease is still held.
    ///
    /// # Errors
    /// The store did not reply.
    pub(crate) async fn is_held(&self) -> Result<bool, StoreError> {
        self.renewer.is_held(self.lease()).await
    }

    /// Steps down: releases the lease, so that another process can acquire it at once.
    pub(crate) async fn release(mut self) {
        self.registration.end();
        self.is_released = true;
        if let Err(error) = self.renewer.store().release_lease(self.lease()).await {
            warn!(lease = %self.lease().name, %error, "a lease is not released; it will expire");
        }
    }
}

impl Drop for LeaseSession {
    /// An application that is dropped has no time to release its leases. Where they are in this
    /// process's memory a release takes none, and the next application here need not wait.
    fn drop(&mut self) {
        let store: &Arc<dyn Store> = self.renewer.store();
        if !self.is_released && store.info().is_sole_writer {
            let releasing = pin!(store.release_lease(self.grant.lease()));
            let _ = releasing.poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}
