//! Byte budget: limits the memory of everything that is queued or in flight in one place.
//!
//! A reservation counts as long as it is held. An item that is larger than the whole budget
//! reserves all of it, so it is admitted alone and still makes progress. The caller decides which
//! bytes to count, and what to do when the budget is used up.
//!
//! See `docs/decisions.md`, "What bounds the memory of what is read, queued and kept?"

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A budget, shared by its clones.
#[derive(Clone)]
pub(crate) struct ByteBudget {
    permits: Arc<Semaphore>,
    limit: u32,
}

/// Reserved bytes, released when this is dropped.
pub(crate) type Reservation = OwnedSemaphorePermit;

impl ByteBudget {
    /// Creates a budget of `limit` bytes: at least 1, at most 4 GiB or `Semaphore::MAX_PERMITS`,
    /// whichever is less.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        Self { permits: Arc::new(Semaphore::new(limit as usize)), limit }
    }

    fn cost(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.limit)
    }

    /// Reserves the bytes if they are available now.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        Arc::clone(&self.permits).try_acquire_many_owned(self.cost(bytes)).ok()
    }

    /// Reserves the bytes as soon as they are available. Callers are served in order, so small
    /// items cannot overtake a large one again and again. Never returns `None` in practice, because
    /// nothing closes the semaphore.
    pub(crate) async fn reserve(&self, bytes: usize) -> Option<Reservation> {
        Arc::clone(&self.permits).acquire_many_owned(self.cost(bytes)).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_larger_than_the_budget_is_taken_alone() {
        let budget = ByteBudget::new(10);
        let small = budget.try_reserve(4).expect("there is room");
        assert!(budget.try_reserve(7).is_none() && budget.try_reserve(1_000).is_none());
        drop(small);
        let large = budget.try_reserve(1_000).expect("nothing else is reserved");
        assert!(budget.try_reserve(1).is_none());
        drop(large);
        assert!(budget.try_reserve(10).is_some());
    }

    #[tokio::test]
    async fn a_large_item_is_not_overtaken_by_small_ones() {
        let budget = ByteBudget::new(10);
        let small = budget.try_reserve(4);
        let mut large = Box::pin(budget.reserve(usize::MAX));
        let waits = tokio::time::timeout(std::time::Duration::ZERO, &mut large).await;
        assert!(waits.is_err() && budget.try_reserve(1).is_none());
        drop(small);
        assert!(large.await.is_some());
    }
}
