//! Stepping aside: a process leaves the partitions of a model to the other members for a while.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use uuid::Uuid;

use super::Pacing;

/// Record of stepping aside from a model for a while.
#[derive(Default)]
pub(super) struct Aside {
    /// Until then this process is no member.
    until: Mutex<Option<Instant>>,
    not_before: Mutex<Option<Instant>>,
    times: AtomicU32,
    /// At the last look there were other members.
    has_others: AtomicBool,
}

impl Aside {
    pub(super) fn is_on(&self) -> bool {
        locked(&self.until).is_some_and(|until| Instant::now() < until)
    }

    /// Remembers whether there are other members.
    pub(super) fn saw(&self, members: &[Uuid], me: Uuid) {
        self.has_others.store(members.iter().any(|member| *member != me), Ordering::Relaxed);
    }

    /// Begins to step aside, if there are other members and this process has not done so lately.
    pub(super) fn begin(&self, pacing: &Pacing) -> bool {
        let now = Instant::now();
        let mut not_before = locked(&self.not_before);
        let has_others = self.has_others.load(Ordering::Relaxed);
        if !has_others || not_before.is_some_and(|at| now < at) {
            return false;
        }
        let times = self.times.fetch_add(1, Ordering::Relaxed);
        *not_before = Some(now + pacing.aside_every.after(times));
        *locked(&self.until) = Some(now + pacing.aside_for);
        true
    }
}

/// Nothing under these locks can panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
