//! Admission control: limits how many commands, and how many bytes of them, are in flight in the
//! application. The limit also bounds the memory of all aggregates' queues together. Stopping the
//! application closes admission.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::byte_budget::{ByteBudget, Reservation};

/// Reason why a command was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Stopping,
}

/// Admission control for all commands of an application. A command counts from its admission until
/// its result is known, even if its caller has gone away.
#[derive(Clone)]
pub(crate) struct Admission {
    permits: Arc<Semaphore>,
    limit: u32,
    bytes: ByteBudget,
    closed: Arc<AtomicBool>,
}

/// Permit of an admitted command, released when it is dropped.
pub(crate) struct Admitted {
    _place: OwnedSemaphorePermit,
    _bytes: Reservation,
}

impl Admission {
    pub(crate) fn new(limit: usize, bytes: usize) -> Self {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX).max(1);
        let permits = Arc::new(Semaphore::new(limit as usize));
        Self { permits, limit, bytes: ByteBudget::new(bytes), closed: Arc::default() }
    }

    /// Admits a command of `bytes` bytes. A command that is larger than the whole limit is admitted
    /// only while no other command is in flight, because it could never run otherwise.
    pub(crate) fn admit(&self, bytes: usize) -> Result<Admitted, Refused> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        // Checked after the permit was acquired: `close_and_drain` waits for all permits, so the
        // permits that are missing may be the ones it holds.
        if self.is_closed() {
            return Err(Refused::Stopping);
        }
        let _place = permit.map_err(|_| Refused::Full)?;
        let _bytes = self.bytes.try_reserve(bytes).ok_or(Refused::Full)?;
        Ok(Admitted { _place, _bytes })
    }

    /// Number of commands in flight.
    pub(crate) fn inside(&self) -> usize {
        (self.limit as usize).saturating_sub(self.permits.available_permits())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses new commands and waits for those in flight. Returns false if some of them are not
    /// finished after `within`.
    pub(crate) async fn close_and_drain(&self, within: Duration) -> bool {
        self.closed.store(true, Ordering::Release);
        tokio::time::timeout(within, self.permits.acquire_many(self.limit)).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_admitted_up_to_a_number_and_a_sum_of_bytes() {
        let admission = Admission::new(3, 100);
        let first = admission.admit(60).unwrap();
        assert!(matches!(admission.admit(41), Err(Refused::Full)));
        let second = admission.admit(40).unwrap();
        assert!(matches!(admission.admit(1), Err(Refused::Full)));
        assert_eq!(admission.inside(), 2, "a refused command holds no place");
        drop((first, second));
        let large = admission.admit(1_000).expect("a large command is admitted alone");
        assert!(matches!(admission.admit(1), Err(Refused::Full)));
        drop(large);
        let small: Vec<_> = (0..3).map(|_| admission.admit(0).unwrap()).collect();
        assert!(matches!(admission.admit(0), Err(Refused::Full)));
        drop(small);
        assert_eq!(admission.inside(), 0);
    }
}
