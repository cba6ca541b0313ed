//! An event in its three lives: to be written, as stored, decoded.
//!
//! Payload and metadata are JSON texts and stay texts until somebody needs the values: what was
//! written is byte for byte what is read. The store checks the sizes; the codec makes the bodies.

pub(crate) mod codec;
mod stream;

pub(crate) use self::stream::Tip;
pub use self::stream::{
    ExpectedVersion, GlobalPosition, InvalidStreamId, MAX_ID_BYTES, StreamId, StreamVersion,
};

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// The most bytes an event type may have.
pub const MAX_EVENT_TYPE_BYTES: usize = 255;

/// Reason why no store can keep an event type of this name, if there is one.
pub(crate) fn invalid_event_type(name: &str) -> Option<String> {
    if name.is_empty() || name.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        return Some(format!(
            "{name:?} cannot be an event type: it is empty or holds a quote, a backslash or a \
             control character"
        ));
    }
    (name.len() > MAX_EVENT_TYPE_BYTES).then(|| {
        let bytes = name.len();
        format!("an event type has {bytes} bytes; at most {MAX_EVENT_TYPE_BYTES} are allowed")
    })
}

/// An event that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The event's identity for ever: consumers deduplicate by it. A UUIDv7, so that its index
    /// grows at one end.
    pub event_id: Uuid,
    /// The stored name: the serde name of the enum variant.
    pub event_type: Cow<'static, str>,
    /// 1 + the number of upcasters registered for this event when it was written.
    pub schema_version: u32,
    /// The event's fields as a JSON text.
    pub payload: Arc<str>,
    /// [`Metadata`] as a JSON text; all events of one command share it.
    pub metadata: Arc<str>,
}

/// An event as the log holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedEvent {
    /// Its number in the whole log.
    pub position: GlobalPosition,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its number in that stream.
    pub version: StreamVersion,
    /// Its identity for ever.
    pub event_id: Uuid,
    /// The stored name: the serde name of the enum variant.
    pub event_type: String,
    /// The schema its payload was written in.
    pub schema_version: u32,
    /// The event's fields as a JSON text, byte for byte as written.
    pub payload: String,
    /// [`Metadata`] as a JSON text, byte for byte as written.
    pub metadata: String,
    /// When it was appended, in UTC. For people: nothing sorts or decides by it.
    pub recorded_at: OffsetDateTime,
}

impl RecordedEvent {
    /// The metadata, decoded.
    ///
    /// # Errors
    /// The stored text is not the JSON this crate writes.
    pub fn metadata(&self) -> Result<Metadata, serde_json::Error> {
        serde_json::from_str(&self.metadata)
    }

    /// Size of payload and metadata in bytes, as a [`PageLimit`](crate::store::contract::PageLimit) counts it. Names
    /// and ids are not included, because they are short and the number of events bounds them.
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.metadata.len()
    }
}

/// A recorded event whose payload has been decoded. Everything of [`RecordedEvent`] can be read
/// from it directly: `envelope.position`, `envelope.stream`, …
#[derive(Debug, Clone, PartialEq)]
pub struct EventEnvelope<E> {
    /// The decoded event.
    pub event: E,
    /// As the log holds it; shared by all who read the same page.
    pub recorded: Arc<RecordedEvent>,
    /// `None` stands for the id of the event's aggregate, so the common case allocates nothing.
    key: Option<Arc<str>>,
}

impl<E> EventEnvelope<E> {
    /// An envelope keyed by the id of its aggregate, as tests of a fold need it.
    pub fn new(event: E, recorded: Arc<RecordedEvent>) -> Self {
        Self { event, recorded, key: None }
    }

    /// The same event on its way to the document or rows of this key.
    #[must_use]
    pub(crate) fn with_key(mut self, key: &str) -> Self {
        self.set_key(key);
        self
    }

    pub(crate) fn set_key(&mut self, key: &str) {
        self.key = Some(key.into());
    }

    /// Key that a read model or projection receives this event under.
    ///
    /// An event that feeds several keys arrives once for each of them, and this tells the arrivals
    /// apart. Everywhere else it is the id of the event's aggregate.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_else(|| self.recorded.stream.id())
    }
}

impl<E> Deref for EventEnvelope<E> {
    type Target = RecordedEvent;

    fn deref(&self) -> &RecordedEvent {
        &self.recorded
    }
}

/// Origin of a command (correlation, cause, actor, trace), stored beside each of its events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The story: equal for everything that one first cause set off. Defaults to the command's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The event or request that directly led to this command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// The person or system on whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// W3C trace context (`traceparent`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_context: Option<String>,
    /// Further entries of your own. The names of the fields above are reserved: a command with one of
    /// them here is refused as `Unstorable`, because the stored object would have that key twice.
    #[serde(flatten)]
    pub extra: BTreeMap<String, String>,
}

/// Names of the fields beside [`Metadata::extra`], which share one JSON object with its entries.
const RESERVED: [&str; 4] = ["correlation_id", "causation_id", "actor", "trace_context"];

impl Metadata {
    /// The stored form. It always comes back equal, because JSON keeps every string as it is.
    ///
    /// # Errors
    /// A reserved name in `extra`: the object would have that key twice, and could not be decoded.
    pub(crate) fn encode(&self) -> Result<Arc<str>, String> {
        if let Some(name) = RESERVED.iter().find(|name| self.extra.contains_key(**name)) {
            return Err(format!(
                "the metadata: the name {name:?} is reserved in `extra`; set the field `{name}`"
            ));
        }
        let text = serde_json::to_string(self).map_err(|error| format!("the metadata: {error}"))?;
        Ok(text.into())
    }
}
