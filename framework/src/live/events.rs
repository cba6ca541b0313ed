//! Live stream of the events of one aggregate: first those in the log, then new ones.

use std::sync::Arc;
use std::vec;

use tokio::sync::OwnedSemaphorePermit;

use super::passes;
use super::wakes::Wake;
use crate::aggregate::Aggregate;
use crate::backoff::Backoff;
use crate::catch_panic::guarded;
use crate::error::{ReadError, StoreError};
use crate::event::codec::EventCodec;
use crate::event::{EventEnvelope, RecordedEvent, StreamId, StreamVersion};
use crate::store::contract::{PageLimit, Store};

/// Maximum size of a page. A slow follower holds one page in memory, and there may be a thousand
/// followers.
const PAGE: PageLimit = PageLimit::events(16).bytes(128 << 10);

/// Events of one aggregate after a version, each once and in order, from `Application::follow`.
/// Ends with the application.
pub struct LiveEvents<A: Aggregate> {
    store: Arc<dyn Store>,
    codec: EventCodec<A::Event>,
    stream: StreamId,
    /// Version of the last event that was returned.
    at: StreamVersion,
    page: vec::IntoIter<RecordedEvent>,
    /// True once the end of the log was reached. From then on the wake reports new events.
    is_live: bool,
    backoff: Backoff,
    wake: Wake,
    _permit: OwnedSemaphorePermit,
}

impl<A: Aggregate> LiveEvents<A> {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        stream: StreamId,
        after: StreamVersion,
        wake: Wake,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            store,
            codec: EventCodec::new(A::upcasters()),
            stream,
            at: after,
            page: Vec::new().into_iter(),
            is_live: false,
            backoff: super::backoff(),
            wake,
            _permit: permit,
        }
    }

    /// Waits for the next event and returns it, or `None` when the application has stopped. A
    /// failed read of the store is retried until it succeeds. Cancel safe.
    ///
    /// # Errors
    /// The next event cannot be read or decoded. The next call tries the same event again, because
    /// skipping one would break the order.
    pub async fn next(&mut self) -> Result<Option<EventEnvelope<A::Event>>, ReadError> {
        loop {
            if let Some(recorded) = self.page.next() {
                let version = recorded.version;
                let envelope = decode(&self.codec, recorded);
                match &envelope {
                    Ok(_) => self.at = version,
                    // Discarding the page makes the next call read this event again.
                    Err(_) => self.page = Vec::new().into_iter(),
                }
                return envelope.map(Some);
            }
            // Before the next read, because the store may be closed already.
            if self.wake.has_ended()? {
                return Ok(None);
            }
            if self.is_live && self.wake.beyond(self.at.0).await?.is_none() {
                return Ok(None);
            }
            match self.store.read_stream(&self.stream, self.at, PAGE).await {
                Ok(page) => {
                    self.backoff.reset();
                    // Only an empty page is the end, because a store may cut a page by its bytes.
                    self.is_live |= page.is_empty();
                    self.page = page.into_iter();
                }
                Err(error) if passes(&error) => self.backoff.wait().await,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Decodes a stored event.
pub(crate) fn decode<E: serde::Serialize + serde::de::DeserializeOwned>(
    codec: &EventCodec<E>,
    recorded: RecordedEvent,
) -> Result<EventEnvelope<E>, ReadError> {
    let decoded = guarded(|| codec.decode(&recorded));
    let event = decoded.and_then(|decoded| decoded.map_err(|error| error.to_string()));
    let event = event.map_err(|reason| StoreError::Corrupt {
        place: format!("{} version {}", recorded.stream, recorded.version),
        reason,
    })?;
    Ok(EventEnvelope::new(event, Arc::new(recorded)))
}
