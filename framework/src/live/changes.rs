//! Live stream of the changes of a read model: a key and a position for each event that touches a
//! document.

use std::marker::PhantomData;

use tokio::sync::OwnedSemaphorePermit;

use super::wakes::{Changed, TooSlow, WakeForAll};
use crate::error::ReadError;
use crate::event::GlobalPosition;
use crate::read_model::ReadModel;

/// Changes of a read model in the order of the log, from `Application::watch_all`. At most 4,096
/// changes are queued for a slow follower. Then the oldest ones are dropped, and
/// [`LiveChanges::next`] returns [`ReadError::Lost`].
pub struct LiveChanges<M> {
    after: GlobalPosition,
    wake: WakeForAll,
    model: PhantomData<fn() -> M>,
    _permit: OwnedSemaphorePermit,
}

impl<M: ReadModel> LiveChanges<M> {
    pub(crate) fn new(
        after: GlobalPosition,
        wake: WakeForAll,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { after, wake, model: PhantomData, _permit: permit }
    }

    /// Position of the last change that was returned. Later changes follow.
    pub fn position(&self) -> GlobalPosition {
        self.after
    }

    /// Waits for the next change and returns it, or `None` when the application has stopped. Cancel
    /// safe.
    ///
    /// # Errors
    /// [`ReadError::Lost`] if changes were dropped: read the documents again. The next call
    /// continues with the changes that were not dropped. An event that cannot be decoded is
    /// returned as an error of its own, because it is unknown which keys it changes.
    pub async fn next(&mut self) -> Result<Option<Changed>, ReadError> {
        match self.wake.next().await? {
            Some(Ok(changed)) => {
                self.after = changed.position;
                Ok(Some(changed))
            }
            Some(Err(TooSlow)) => Err(ReadError::Lost { model: M::NAME, after: self.after }),
            None => Ok(None),
        }
    }
}
