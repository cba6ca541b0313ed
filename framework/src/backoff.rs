//! Backoff: the delay before the next attempt, which doubles with each attempt that fails.

use std::time::Duration;

/// Delays that double from a first to a longest one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// Backoff for calls to a store. A lost connection is usually back within milliseconds, and a
    /// server that restarts must not be flooded.
    pub(crate) const fn of_a_store() -> Self {
        Self::new(Duration::from_millis(20), Duration::from_secs(2))
    }

    /// Returns the next delay and doubles the one after it.
    pub(crate) fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.longest);
        delay
    }

    /// Sleeps for the next delay.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.delay()).await;
    }

    /// Starts again from the first delay, after an attempt that succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Delay after this many failed attempts, for a caller that keeps only their number.
    pub(crate) fn after(&self, attempts: u32) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(attempts)).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_begin_again_after_a_success() {
        let milliseconds = Duration::from_millis;
        let mut backoff = Backoff::new(milliseconds(20), milliseconds(50));
        assert_eq!([(); 3].map(|()| backoff.delay()), [20, 40, 50].map(milliseconds));
        backoff.reset();
        assert_eq!(backoff.delay(), milliseconds(20));
        assert_eq!([0, 1, 2, 99].map(|n| backoff.after(n)), [20, 40, 50, 50].map(milliseconds));
    }
}
