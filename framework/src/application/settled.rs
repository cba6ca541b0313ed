//! The moment at which nothing is left to do, for tests.

use super::Application;
use crate::error::StoreError;

impl Application {
    /// Returns true if everything that follows the log has reached its head, and has performed what it led
    /// to. What waits for a time does not count, nor what is paused and stands still.
    ///
    /// # Errors
    /// The store did not reply.
    pub(crate) async fn is_settled(&self) -> Result<bool, StoreError> {
        let head = self.inner.store.head().await?;
        let followers = self.inner.read_side.iter().flat_map(|it| &it.followers().progress);
        let mut running = followers.filter(|it| it.is_running() && !it.now().stands_still());
        Ok(running.all(|progress| progress.is_settled(head, self.inner.clock.now()))
            // What was performed meanwhile may have stored something.
            && self.inner.store.head().await? == head)
    }
}
