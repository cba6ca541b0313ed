//! Parked keys of read models and projections: what stands still and why, and what can be done about it.
//!
//! A request is left in the store, so it can be made in any process; whoever owns the key carries it
//! out, at once if that is this process, else within about a second.

use super::Operations;
use crate::error::OperationError;
use crate::event::GlobalPosition;
use crate::partition::FollowerControl;
use crate::store::contract::{CheckpointStore, ParkedKey, ParkedRequest, SkippedEvent};

impl Operations<'_> {
    /// The parked keys of a read model or projection, by key. It is named by its `NAME`, or by `NAME@VERSION`; so it
    /// is everywhere below.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn parked(&self, name: &str) -> Result<Vec<ParkedKey>, OperationError> {
        let (control, store) = self.control(name)?;
        Ok(store.load_parked(&control.versioned_name(), None).await?)
    }

    /// The events that were left out of a read model, by position.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn skipped(&self, name: &str) -> Result<Vec<SkippedEvent>, OperationError> {
        let (control, store) = self.control(name)?;
        Ok(store.load_skipped(&control.versioned_name()).await?)
    }

    /// Asks to try a parked key again. After a fix of the code that is not needed: whoever starts
    /// with it tries all parked keys by itself.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn retry_parked(&self, name: &str, key: &str) -> Result<(), OperationError> {
        no_nul("key", key)?;
        let (control, store) = self.control(name)?;
        let model = control.versioned_name();
        let parked = store.load_parked(&model, Some(&[key.to_owned()])).await?;
        let position = parked.first().map(|parked| parked.position);
        let not_parked = || OperationError::NotParked { model: model.clone(), key: key.to_owned() };
        let position = position.ok_or_else(not_parked)?;
        self.request(name, key, position, ParkedRequest::Retry).await
    }

    /// Asks to try all parked keys again; answers how many there are.
    ///
    /// # Errors
    /// [`OperationError`]
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

    /// Asks to leave the event at which a key is parked out of its document, for good, and to go on
    /// with those behind it. The reason is kept, see [`Operations::skipped`].
    ///
    /// # Errors
    /// [`OperationError`]
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

    /// What is meant, of several versions this program's own, and where it keeps what is parked.
    fn control(
        &self,
        name: &str,
    ) -> Result<(&dyn FollowerControl, &dyn CheckpointStore), OperationError> {
        let mut controls = self.app.inner.read_side.iter().rev().map(|control| &**control);
        let named = controls.find(|c| c.name() == name || c.versioned_name() == name);
        let named = named.ok_or_else(|| OperationError::Unknown { name: name.to_owned() })?;
        Ok((named, self.app.inner.checkpoints(named)))
    }
}

/// Not every database can keep a NUL, and no key or reason has one.
fn no_nul(what: &'static str, text: &str) -> Result<(), OperationError> {
    match text.contains('\0') {
        true => Err(OperationError::Nul { what }),
        false => Ok(()),
    }
}
