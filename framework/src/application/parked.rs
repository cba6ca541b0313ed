//! Operations on parked keys of read models, projections and event handlers: list, retry, skip.
//!
//! A request is stored, so it can be made in any process. The owner of the key carries it out: at
//! once if it is this process, otherwise within about a second.

use super::Operations;
use crate::error::OperationError;
use crate::event::GlobalPosition;
use crate::partition::FollowerControl;
use crate::store::contract::{
    CheckpointStore, ParkedKey, ParkedQuery, ParkedRequest, SkippedEvent,
};

impl Operations<'_> {
    /// Returns the parked keys of a read model, projection or event handler, ordered by key. `name`
    /// is its `NAME`, or `NAME@VERSION`, here and in the methods below.
    ///
    /// # Errors
    /// [`OperationError`]: `Unknown`, or `Unavailable` if the store is not available.
    pub async fn parked(&self, name: &str) -> Result<Vec<ParkedKey>, OperationError> {
        let (control, store) = self.control(name)?;
        Ok(store.load_parked(&control.versioned_name(), &ParkedQuery::default()).await?.keys)
    }

    /// Returns the events that were skipped, ordered by position.
    ///
    /// # Errors
    /// [`OperationError`]: `Unknown`, or `Unavailable` if the store is not available.
    pub async fn skipped(&self, name: &str) -> Result<Vec<SkippedEvent>, OperationError> {
        let (control, store) = self.control(name)?;
        Ok(store.load_skipped(&control.versioned_name()).await?)
    }

    /// Requests a retry of a parked key. After a fix of the code this is not needed, because a new
    /// owner retries all parked keys.
    ///
    /// # Errors
    /// [`OperationError`]: `NotParked`, `Unknown`, `Nul`, or `Unavailable` if the store is not
    /// available.
    pub async fn retry_parked(&self, name: &str, key: &str) -> Result<(), OperationError> {
        no_nul("key", key)?;
        let (control, store) = self.control(name)?;
        let model = control.versioned_name();
        let parked = store.load_parked(&model, &ParkedQuery::key(key)).await?.keys;
        let position = parked.first().map(|parked| parked.position);
        let not_parked = || OperationError::NotParked { model: model.clone(), key: key.to_owned() };
        let position = position.ok_or_else(not_parked)?;
        self.request(name, key, position, ParkedRequest::Retry).await
    }

    /// Requests a retry of all parked keys and returns their number.
    ///
    /// # Errors
    /// [`OperationError`]: `Unknown`, or `Unavailable` if the store is not available.
    pub async fn retry_all_parked(&self, name: &str) -> Result<usize, OperationError> {
        let mut asked = 0;
        for parked in self.parked(name).await? {
            match self.request(name, &parked.key, parked.position, ParkedRequest::Retry).await {
                Ok(()) => asked += 1,
                Err(OperationError::NotParked { .. }) => {} // it has just moved
                Err(error) => return Err(error),
            }
        }
        Ok(asked)
    }

    /// Requests to skip the event at which a key is parked, permanently, and to continue with the
    /// events behind it. The reason is stored, see [`Operations::skipped`].
    ///
    /// # Errors
    /// [`OperationError`]: `NoReason`, `NotParked` if the key is parked at another event,
    /// `Unknown`, `Nul`, or `Unavailable` if the store is not available.
    pub async fn skip_parked(
        &self,
        name: &str,
        key: &str,
        position: GlobalPosition,
        reason: &str,
    ) -> Result<(), OperationError> {
        no_nul("reason", reason)?;
        if reason.trim().is_empty() {
            return Err(OperationError::NoReason);
        }
        let skip = ParkedRequest::Skip { reason: reason.to_owned() };
        self.request(name, key, position, skip).await
    }

    async fn request(
        &self,
        name: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<(), OperationError> {
        no_nul("key", key)?;
        let (control, store) = self.control(name)?;
        let model = control.versioned_name();
        if !store.request_parked(&model, key, position, request).await? {
            return Err(OperationError::NotParked { model, key: key.to_owned() });
        }
        control.requested();
        Ok(())
    }

    /// Returns the named follower (of several versions, this program's own) and the store of its
    /// parked keys.
    pub(super) fn control(
        &self,
        name: &str,
    ) -> Result<(&dyn FollowerControl, &dyn CheckpointStore), OperationError> {
        let mut controls = self.app.inner.read_side.iter().rev().map(|control| &**control);
        let named = controls.find(|c| c.name() == name || c.versioned_name() == name);
        let named = named.ok_or_else(|| OperationError::Unknown { name: name.to_owned() })?;
        Ok((named, self.app.inner.checkpoints(named)))
    }
}

/// Refuses a NUL character, because not every database can store it. No valid key or reason
/// contains one.
pub(super) fn no_nul(what: &'static str, text: &str) -> Result<(), OperationError> {
    match text.contains('\0') {
        true => Err(OperationError::Nul { what }),
        false => Ok(()),
    }
}
