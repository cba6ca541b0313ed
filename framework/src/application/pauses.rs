//! Operations that pause and resume what follows the log, and have a handler handle events again.
//!
//! A pause is stored beside the version, so it holds in every process and after every restart.

use super::Operations;
use super::parked::no_nul;
use crate::error::OperationError;
use crate::event::GlobalPosition;
use crate::partition::{FollowerControl, NotReplayed, State, replay};
use crate::store::contract::Pause;

impl Operations<'_> {
    /// Pauses a read model, projection, event handler or process manager; `name` is its `NAME`, or
    /// `NAME@VERSION`. The names `command_executor` and `command_callbacks` pause deferred commands
    /// and callbacks.
    ///
    /// The request is stored, and other processes learn of it within about a second. Each owner
    /// finishes and saves the work under way, and releases its lease. Then the follower stands still
    /// until [`Operations::resume`], also after a restart. Events wait in the log, documents and rows
    /// answer from what is saved. If it is paused already, only the reason changes.
    ///
    /// # Errors
    /// [`OperationError`]: `NoReason`, `Unknown`, `Nul`, or `Unavailable` if the store is not
    /// available.
    pub async fn pause(&self, name: &str, reason: &str) -> Result<Pause, OperationError> {
        no_nul("reason", reason)?;
        if reason.trim().is_empty() {
            return Err(OperationError::NoReason);
        }
        let (control, _) = self.control(name)?;
        let (inner, version) = (&self.app.inner, (control.name(), control.version()));
        let known = Pause::load(&*inner.store, version).await?;
        let since = known.map_or_else(|| inner.clock.now(), |known| known.since);
        let pause = Pause { reason: reason.to_owned(), since };
        Pause::save(Some(&pause), &*inner.store, version).await?;
        inner.renewer.pause(&control.versioned_name(), Some(pause.clone()));
        Ok(pause)
    }

    /// Resumes what is paused, from its checkpoint. It continues within about two seconds. Does
    /// nothing if it is not paused.
    ///
    /// # Errors
    /// [`OperationError`]: `Unknown`, or `Unavailable` if the store is not available.
    pub async fn resume(&self, name: &str) -> Result<(), OperationError> {
        let (control, _) = self.control(name)?;
        let inner = &self.app.inner;
        Pause::save(None, &*inner.store, (control.name(), control.version())).await?;
        inner.renewer.pause(&control.versioned_name(), None);
        Ok(())
    }

    /// Has an event handler handle all events after a position again, with the same event ids. The
    /// handler must be paused, or have halted. It begins when it is resumed; one that has halted
    /// begins with the next start of its program.
    ///
    /// Keys that are parked after the position are released, because their events come again. Keys
    /// that are parked before it stay parked. Events that were skipped after it come again.
    ///
    /// # Errors
    /// [`OperationError`]: `NotPaused` if it runs, `NotReplayable` if it is no event handler,
    /// `ReplayPosition` if it has not come so far or the log has no such position, `NoReason`,
    /// `Unknown`, `Nul`, or `Unavailable` if the store is not available: call again to continue.
    pub async fn replay(
        &self,
        name: &str,
        after: GlobalPosition,
        reason: &str,
    ) -> Result<(), OperationError> {
        no_nul("reason", reason)?;
        if reason.trim().is_empty() {
            return Err(OperationError::NoReason);
        }
        let (control, _) = self.control(name)?;
        let (inner, followers) = (&self.app.inner, control.followers());
        let name = control.versioned_name();
        inner.check_history()?;
        if followers.replays.is_none() {
            return Err(OperationError::NotReplayable { name, instead: instead(control) });
        }
        let pause = Pause::load(&*inner.store, (control.name(), control.version())).await?;
        let has_halted = |it: &crate::partition::Progress| matches!(it.state, State::Halted { .. });
        if pause.is_none() && !control.partitions().iter().any(has_halted) {
            return Err(OperationError::NotPaused { name });
        }
        // The operator's own id, because this process could take the lease from its own owner.
        let operator = inner.clock.new_id();
        replay(&*inner.store, followers, operator, after).await.map_err(|not| match not {
            NotReplayed::Owned => OperationError::NotPaused { name: name.clone() },
            NotReplayed::Reached(reached) => {
                OperationError::ReplayPosition { name: name.clone(), position: after, reached }
            }
            NotReplayed::Store(error) => error.into(),
        })?;
        tracing::warn!(subscription = %name, %after, %reason, "events are handled again, as an operator requested");
        Ok(())
    }
}

/// The way to what a replay would be for.
fn instead(control: &dyn FollowerControl) -> &'static str {
    let followers = control.followers();
    match (followers.sends_commands, followers.derives_keys) {
        (false, _) => {
            "its documents or rows have these events already. Build it again under a new VERSION"
        }
        (true, true) => {
            "its commands were carried out. To act on these events again, register it under a new \
             NAME, with a start position"
        }
        (true, false) => "its commands were carried out. Send new ones",
    }
}
