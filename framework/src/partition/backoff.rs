//! Waiting longer each time: the back-off of everything that retries a store.

use std::time::Duration;

/// A pause that doubles from a first to a longest one.
#[derive(Debug, Clone)]
pub(crate) struct Pause {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pause {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// Sleeps, and will sleep longer the next time.
    pub(crate) async fn rest(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
    }

    /// It went well: the next pause is the first again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}
