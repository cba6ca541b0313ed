//! Live stream of one document.

use std::cmp::max;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::passes;
use super::wakes::Wake;
use crate::backoff::Backoff;
use crate::error::ReadError;
use crate::event::GlobalPosition;
use crate::read_model::{Document, ReadModel, Served};

/// The current document and its new state after each change, from `Application::watch`. A slow
/// follower may miss intermediate states but never the last one, and never gets an older state
/// after a newer one. On a standby the same state may be returned twice, the second time with its
/// exact position.
///
/// ```
/// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
/// # use tour::*;
/// # use actum::{Application, store::MemoryStore};
/// # #[tokio::main]
/// # async fn main() -> Result<(), actum::BoxError> {
/// # let app = Application::builder(MemoryStore::new())
/// #     .aggregate::<Account>().read_model::<Balance>().start().await?;
/// let mut live = app.watch::<Balance>("42")?;
/// app.execute::<Account>("42", Command::Credit { cents: 1250 }).await?;
/// if let Some(balance) = live.next().await? {
///     assert_eq!(balance.cents, 1250);
/// }
/// # app.shutdown().await;
/// # Ok(()) }
/// ```
pub struct LiveDocument<M: ReadModel> {
    model: Served<M>,
    key: String,
    read_within: Duration,
    /// Position that the next read must reach, if a change is already known.
    due: Option<GlobalPosition>,
    /// Position up to which all changes have been returned.
    seen: GlobalPosition,
    /// True if the last result was a document. Then a deletion must be reported once.
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

    /// Returns the document on the first call, and on each later call waits for the next change and
    /// returns the new state. Returns `None` when the application has stopped. A failed read of the
    /// store is retried until it succeeds. Cancel safe.
    ///
    /// # Errors
    /// [`ReadError`] if the document cannot be read; the next call tries again. `NotFound` is
    /// returned once if the document was deleted; the next call waits until it exists again.
    pub async fn next(&mut self) -> Result<Option<Document<M>>, ReadError> {
        loop {
            let wanted = match self.due {
                Some(due) => due,
                None => match self.wake.beyond(self.seen.0).await? {
                    Some(mark) => GlobalPosition(mark),
                    None => return Ok(None),
                },
            };
            // Kept until the read has succeeded, so a caller that drops this future loses no
            // change.
            self.due = Some(wanted);
            match self.model.read(&self.key, wanted, self.read_within).await {
                Ok(document) => {
                    self.backoff.reset();
                    // The document may be newer than the change that was reported, and must not be
                    // returned twice.
                    self.saw(max(wanted, document.position));
                    self.is_shown = true;
                    return Ok(Some(document));
                }
                Err(ReadError::NotFound { model, key, reflects }) => {
                    self.saw(wanted);
                    // Only once: a document that never existed is no deletion.
                    if std::mem::take(&mut self.is_shown) {
                        return Err(ReadError::NotFound { model, key, reflects });
                    }
                }
                Err(ReadError::Stopping) => return Ok(None),
                Err(_) if self.wake.has_ended()? => return Ok(None),
                // The read model is behind. The caller wants to wait, so this is not an error.
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
