//! How many commands are let in, and when nobody is let in any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Why a command was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Stopping,
}

/// The door all commands of an application pass. Bounds memory: what is let in holds a permit
/// until it is answered, also when its caller has left.
#[derive(Clone)]
pub(crate) struct Admission {
    permits: Arc<Semaphore>,
    limit: u32,
    closed: Arc<AtomicBool>,
}

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX).max(1);
        let permits = Arc::new(Semaphore::new(limit as usize));
        Self { permits, limit, closed: Arc::default() }
    }

    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Refused> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        // After the permit was asked for: whoever closes waits for those who have one, and it may
        // be them who have them all.
        if self.is_closed() {
            return Err(Refused::Stopping);
        }
        permit.map_err(|_| Refused::Full)
    }

    /// How many are inside.
    pub(crate) fn inside(&self) -> usize {
        (self.limit as usize).saturating_sub(self.permits.available_permits())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Lets nobody in any more and waits for those inside; false if some are still there then.
    pub(crate) async fn close_and_drain(&self, within: Duration) -> bool {
        self.closed.store(true, Ordering::Release);
        tokio::time::timeout(within, self.permits.acquire_many(self.limit)).await.is_ok()
    }
}
