//! The events of one aggregate, from the log and then as they come.

use std::sync::Arc;
use std::vec;

use tokio::sync::OwnedSemaphorePermit;

use super::passes;
use super::wake::Wake;
use crate::aggregate::Aggregate;
use crate::backoff::Backoff;
use crate::catch_panic::guarded;
use crate::error::{ReadError, StoreError};
use crate::event::codec::EventCodec;
use crate::event::{EventEnvelope, RecordedEvent, StreamId, StreamVersion};
use crate::store::contract::{PageLimit, Store};

/// Limit of one read, which is all that a slow follower holds: there may be a thousand of them.
const PAGE: PageLimit = PageLimit::events(16).bytes(128 << 10);

/// The events of one aggregate after a version, each once and in order, for as long as the
/// application runs: `Application::follow` gives it.
pub struct LiveEvents<A: Aggregate> {
    store: Arc<dyn Store>,
    codec: EventCodec<A::Event>,
    stream: StreamId,
    /// The last version that was handed out.
    at: StreamVersion,
    page: vec::IntoIter<RecordedEvent>,
    /// The log's end was seen: of whatever came later, the wake knows.
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

    /// The next event, as soon as there is one; `None` when the application has stopped. A store that
    /// does not answer is asked again until it does. May be cancelled at any point.
    ///
    /// # Errors
    /// The next event cannot be read or decoded. Asked again, it tries the same event again: none is
    /// skipped.
    pub async fn next(&mut self) -> Result<Option<EventEnvelope<A::Event>>, ReadError> {
        loop {
            if let Some(recorded) = self.page.next() {
                let version = recorded.version;
                let envelope = decode(&self.codec, recorded);
                match &envelope {
                    Ok(_) => self.at = version,
                    Err(_) => self.page = Vec::new().into_iter(),
                }
                return envelope.map(Some);
            }
            if self.wake.has_ended()? {
                return Ok(None);
            }
            if self.is_live && self.wake.beyond(self.at.0).await?.is_none() {
                return Ok(None);
            }
            match self.store.read_stream(&self.stream, self.at, PAGE).await {
                Ok(page) => {
                    self.backoff.reset();
                    self.is_live |= page.is_empty();
                    self.page = page.into_iter();
                }
                Err(error) if passes(&error) => self.backoff.wait().await,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A stored event with its value.
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
