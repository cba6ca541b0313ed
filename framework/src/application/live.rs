//! Live streams of an application: events, documents and changes as they happen.

use std::any::TypeId;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::Application;
use crate::aggregate::Aggregate;
use crate::error::ReadError;
use crate::event::{StreamId, StreamVersion};
use crate::live::{LiveChanges, LiveDocument, LiveEvents, Wakes};
use crate::read_model::ReadModel;

impl Application {
    /// Follows the events of one aggregate after a version: the stored ones, then each new one,
    /// whichever process appends it. A follower has no queue, so it may be slow.
    ///
    /// # Errors
    /// [`ReadError`]: `InvalidId`, `NoLiveStream` beyond `Settings::live_streams`, or `Stopping`.
    pub fn follow<A: Aggregate>(
        &self,
        id: &str,
        after: StreamVersion,
    ) -> Result<LiveEvents<A>, ReadError> {
        let stream = StreamId::new(A::TYPE, id)?;
        let permit = self.live_stream()?;
        let wake = self.inner.followers.register(stream.as_str())?;
        Ok(LiveEvents::new(Arc::clone(&self.inner.store), stream, after, wake, permit))
    }

    /// Follows the document of the read model `M` with this key: its current state, if it exists,
    /// and each change.
    ///
    /// # Errors
    /// [`ReadError`]: `NotRegistered`, `NoLiveStream` beyond `Settings::live_streams`, or
    /// `Stopping`.
    pub fn watch<M: ReadModel>(&self, key: &str) -> Result<LiveDocument<M>, ReadError> {
        let model = self.read_model::<M>()?.clone();
        let permit = self.live_stream()?;
        let wake = self.watchers::<M>()?.register(key)?;
        let read_within = self.inner.settings.read_within;
        Ok(LiveDocument::new(model, key, read_within, wake, permit))
    }

    /// Follows the key and position of every change of the read model `M` from now on.
    ///
    /// # Errors
    /// Those of [`Application::watch`].
    pub fn watch_all<M: ReadModel>(&self) -> Result<LiveChanges<M>, ReadError> {
        let permit = self.live_stream()?;
        let (after, wake) = self.watchers::<M>()?.register_for_all()?;
        Ok(LiveChanges::new(after, wake, permit))
    }

    fn watchers<M: ReadModel>(&self) -> Result<&Wakes, ReadError> {
        self.inner.watchers.get(&TypeId::of::<M>()).ok_or(ReadError::NotRegistered(M::NAME))
    }

    fn live_stream(&self) -> Result<OwnedSemaphorePermit, ReadError> {
        let permit = Arc::clone(&self.inner.live_streams).try_acquire_owned();
        permit.map_err(|_| ReadError::NoLiveStream)
    }
}
