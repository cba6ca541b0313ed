//! Waiting side of change notifications: for one key, or for every change of a read model.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::changes::Changed;
use super::wakes::Wakes;
use crate::error::{ReadError, StoreError};
use crate::event::GlobalPosition;

/// A follower that waits for one key.
pub(crate) struct Wake {
    wakes: Wakes,
    key: Arc<str>,
    from: GlobalPosition,
    mark: Option<watch::Receiver<u64>>,
}

impl Wake {
    pub(super) fn new(
        wakes: Wakes,
        key: Arc<str>,
        from: GlobalPosition,
        mark: watch::Receiver<u64>,
    ) -> Self {
        Self { wakes, key, from, mark: Some(mark) }
    }

    /// Position after which events are notified. Earlier events must be read from the log.
    pub(super) fn from(&self) -> GlobalPosition {
        self.from
    }

    /// Waits for a mark greater than `seen` and returns it, or `None` when the application has
    /// stopped.
    pub(super) async fn beyond(&mut self, seen: u64) -> Result<Option<u64>, ReadError> {
        if let Some(mark) = &mut self.mark
            && let Ok(mark) = mark.wait_for(|mark| *mark > seen).await
        {
            return Ok(Some(*mark));
        }
        self.has_ended().map(|_| None)
    }

    /// Returns true if the application has stopped.
    pub(super) fn has_ended(&self) -> Result<bool, ReadError> {
        self.wakes.has_ended()
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        let mark = self.mark.take();
        self.wakes.leave(&self.key, || drop(mark));
    }
}

/// A follower that waits for every change.
pub(crate) struct WakeForAll {
    wakes: Wakes,
    changes: Option<Changes>,
}

type Changes = broadcast::Receiver<Result<Changed, StoreError>>;

/// Changes were dropped because the follower was too slow.
pub(super) struct TooSlow;

impl WakeForAll {
    pub(super) fn new(wakes: Wakes, changes: Changes) -> Self {
        Self { wakes, changes: Some(changes) }
    }

    /// Waits for the next change and returns it, or `None` when the application has stopped.
    pub(super) async fn next(&mut self) -> Result<Option<Result<Changed, TooSlow>>, ReadError> {
        use broadcast::error::RecvError;
        let Some(changes) = &mut self.changes else { return Ok(None) };
        match changes.recv().await {
            Ok(change) => Ok(Some(Ok(change?))),
            Err(RecvError::Lagged(_)) => Ok(Some(Err(TooSlow))),
            Err(RecvError::Closed) => self.wakes.has_ended().map(|_| None),
        }
    }
}

impl Drop for WakeForAll {
    fn drop(&mut self) {
        self.changes = None;
        self.wakes.leave_all();
    }
}
