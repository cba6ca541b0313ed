//! A document as it changes.

use std::cmp::max;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::passes;
use super::wake::Wake;
use crate::backoff::Backoff;
use crate::error::ReadError;
use crate::event::GlobalPosition;
use crate::read_model::{Document, ReadModel, Served};

/// A document now, if there is one, and after each change: `Application::watch` gives it. The newest
/// wins: who is slow misses states in between, but never the last one, and none comes after a newer
/// one. (On a standby the same state may come twice, the second time with its true position.)
pub struct LiveDocument<M: ReadModel> {
    model: Served<M>,
    key: String,
    read_within: Duration,
    /// The position to read next at the least, if that is known already.
    due: Option<GlobalPosition>,
    /// What was handed out reflects every change up to here.
    seen: GlobalPosition,
    /// The last answer was a document, so the caller is to learn if it is deleted.
    is_shown: bool,
    backoff: Backoff,
    wake: Wake,
    _permit: OwnedSemaphorePermit,
}

impl<M: ReadModel> LiveDocument<M> {
    pub(crate) fn new(
        model: Served<M>,
        key: &str,
        read_within: Duration,
        wake: Wake,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let due = Some(wake.from());
        let seen = GlobalPosition::ZERO;
        let (key, backoff) = (key.to_owned(), super::backoff());
        let is_shown = false;
        Self { model, key, read_within, due, seen, is_shown, backoff, wake, _permit: permit }
    }

    /// The document as it is when asked first, then after each change, as soon as the read model has
    /// applied it; `None` when the application has stopped. A store that does not answer is asked
    /// again until it does. May be cancelled at any point.
    ///
    /// # Errors
    /// [`ReadError`]: the document cannot be read; called again, it tries again. `NotFound` says once
    /// that the document, which was there, has been deleted; called again, it waits for the next.
    pub async fn next(&mut self) -> Result<Option<Document<M>>, ReadError> {
        loop {
            let wanted = match self.due {
                Some(due) => due,
                None => match self.wake.beyond(self.seen.0).await? {
                    Some(mark) => GlobalPosition(mark),
                    None => return Ok(None),
                },
            };
            self.due = Some(wanted);
            match self.model.read(&self.key, wanted, self.read_within).await {
                Ok(document) => {
                    self.backoff.reset();
                    self.saw(max(wanted, document.position));
                    self.is_shown = true;
                    return Ok(Some(document));
                }
                Err(ReadError::NotFound { model, key, reflects }) => {
                    self.saw(wanted);
                    if std::mem::take(&mut self.is_shown) {
                        return Err(ReadError::NotFound { model, key, reflects });
                    }
                }
                Err(ReadError::Stopping) => return Ok(None),
                Err(_) if self.wake.has_ended()? => return Ok(None),
                // The read model is behind: waiting is what the caller is here for.
                Err(ReadError::NotYet { .. }) => {}
                Err(ReadError::Unavailable(error)) if passes(&error) => self.backoff.wait().await,
                Err(error) => return Err(error),
            }
        }
    }

    fn saw(&mut self, position: GlobalPosition) {
        self.due = None;
        self.seen = position;
    }
}
