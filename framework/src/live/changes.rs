//! What changes in a read model: a key and a position for each event that touches a document.

use std::marker::PhantomData;

use tokio::sync::OwnedSemaphorePermit;

use super::wake::{TooSlow, WakeForAll};
use crate::error::ReadError;
use crate::event::GlobalPosition;
use crate::read_model::ReadModel;

/// A document is about to change or has changed: a read after this position includes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The document's key.
    pub key: String,
    /// Of the event that changes it.
    pub position: GlobalPosition,
}

/// The changes of a read model, in the order of the log: `Application::watch_all` gives it. A few
/// thousand may wait for whoever is slow; then the oldest are dropped, and it is told so.
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

    /// The changes after this position are still to come.
    pub fn position(&self) -> GlobalPosition {
        self.after
    }

    /// The next change, as soon as there is one; `None` when the application has stopped. May be
    /// cancelled at any point.
    ///
    /// # Errors
    /// [`ReadError::Lost`] says after which position changes were dropped; asked again, it goes on
    /// with those that were not. An event that cannot be decoded is an error of its own.
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
