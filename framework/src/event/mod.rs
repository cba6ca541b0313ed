//! Events: one to be written, one as stored, and one as decoded.
//!
//! Payload and metadata stay JSON texts until a reader needs the values, so a reader gets them byte
//! for byte as they were written. The store checks the sizes; the codec writes and reads the
//! payloads.

pub(crate) mod codec;
mod stream;

pub use self::stream::Tip;
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

/// Maximum size of an event type in bytes.
pub const MAX_EVENT_TYPE_BYTES: usize = 255;

/// Returns the reason why no store can keep an event type of this name, if there is one.
pub(crate) fn invalid_event_type(name: &str) -> Option<String> {
    if name.is_empty() || name.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        return Some(format!(
            "{name:?} is not a valid event type: it is empty or contains a quote, a backslash or a \
             control character"
        ));
    }
    (name.len() > MAX_EVENT_TYPE_BYTES).then(|| {
        let bytes = name.len();
        format!("an event type has {bytes} bytes; at most {MAX_EVENT_TYPE_BYTES} are allowed")
    })
}

/// An event that is to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Stable identity of the event; consumers deduplicate by it. A UUIDv7, because ids that grow
    /// with time are inserted at one end of their index.
    pub event_id: Uuid,
    /// Stored name of the event: the serde name of the enum variant.
    pub event_type: Cow<'static, str>,
    /// Schema version of the payload: 1 + the number of upcasters registered for this event type
    /// when the event was written.
    pub schema_version: u32,
    /// Fields of the event as a JSON text.
    pub payload: Arc<str>,
    /// [`Metadata`] as a JSON text; all events of one command share it.
    pub metadata: Arc<str>,
}

/// An event as the log stores it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// Sequence number of the event in the whole log.
    pub position: GlobalPosition,
    /// Stream that the event belongs to.
    pub stream: StreamId,
    /// Sequence number of the event within its stream.
    pub version: StreamVersion,
    /// Stable identity of the event; consumers deduplicate by it.
    pub event_id: Uuid,
    /// Stored name of the event: the serde name of the enum variant.
    pub event_type: String,
    /// Schema version that the payload was written in.
    pub schema_version: u32,
    /// Fields of the event as a JSON text, byte for byte as written.
    pub payload: String,
    /// [`Metadata`] as a JSON text, byte for byte as written.
    pub metadata: String,
    /// Time of the append, in UTC, by the clock of the process that wrote the event. Clocks differ and
    /// jump, so the order of events never depends on it.
    pub recorded_at: OffsetDateTime,
}

impl RecordedEvent {
    /// Creates the stored form of an event, for a store that appends it or reads it from a row.
    pub fn new(
        event: NewEvent,
        stream: StreamId,
        version: StreamVersion,
        position: GlobalPosition,
        recorded_at: OffsetDateTime,
    ) -> Self {
        Self {
            position,
            stream,
            version,
            event_id: event.event_id,
            event_type: event.event_type.into_owned(),
            schema_version: event.schema_version,
            payload: event.payload.as_ref().to_owned(),
            metadata: event.metadata.as_ref().to_owned(),
            recorded_at,
        }
    }

    /// Decodes the metadata.
    ///
    /// # Errors
    /// The stored text is not the JSON that this crate writes: another program wrote the event.
    pub fn metadata(&self) -> Result<Metadata, serde_json::Error> {
        serde_json::from_str(&self.metadata)
    }

    /// Size of payload and metadata in bytes, as a [`PageLimit`](crate::store::contract::PageLimit)
    /// counts it. Names and ids are not included, because they are short and the number of events
    /// bounds them.
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.metadata.len()
    }
}

/// A recorded event with its decoded payload. Dereferences to [`RecordedEvent`], so its fields can
/// be read directly: `envelope.position`, `envelope.stream`, …
///
/// ```
/// # use actum::EventEnvelope;
/// # enum Event { Credited { cents: i64 } }
/// fn describe(envelope: &EventEnvelope<Event>) -> String {
///     let Event::Credited { cents } = envelope.event;
///     format!("{}: {cents} cents to account {}", envelope.recorded_at, envelope.stream.id())
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EventEnvelope<E> {
    /// The decoded event.
    pub event: E,
    /// The event as the log stores it. Shared by all followers that read the same page.
    pub recorded: Arc<RecordedEvent>,
    /// `None` means the id of the event's aggregate, so the common case allocates nothing.
    key: Option<Arc<str>>,
}

impl<E> EventEnvelope<E> {
    /// Creates an envelope whose key is the id of the event's aggregate, for example to test a
    /// fold.
    pub fn new(event: E, recorded: Arc<RecordedEvent>) -> Self {
        Self { event, recorded, key: None }
    }

    /// Returns the envelope with the key of the document or rows that the event is delivered to.
    #[must_use]
    pub(crate) fn with_key(mut self, key: &str) -> Self {
        self.set_key(key);
        self
    }

    pub(crate) fn set_key(&mut self, key: &str) {
        self.key = Some(key.into());
    }

    /// Key under which a read model or projection receives this event.
    ///
    /// An event that feeds several keys is delivered once for each of them, and only the key
    /// distinguishes these deliveries. Everywhere else the key is the id of the event's aggregate.
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
    /// Correlation id: equal for all commands and events that one first cause led to. Defaults to
    /// the command's key, or to a new id if the command has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Id of the event or request that directly led to this command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// Person or system on whose behalf the command was sent, such as `user:ada`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// W3C trace context of the command (`traceparent`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_context: Option<String>,
    /// Further entries of your own. The names of the fields above are reserved: a command with one
    /// of them here is refused as `Unstorable`, because the stored object would have that key
    /// twice.
    #[serde(flatten)]
    pub extra: BTreeMap<String, String>,
}

/// Names of the fields beside [`Metadata::extra`]; its entries are stored in the same JSON object.
const RESERVED: [&str; 4] = ["correlation_id", "causation_id", "actor", "trace_context"];

impl Metadata {
    /// Encodes the metadata as JSON. The result always decodes to an equal value, because all
    /// values are strings.
    ///
    /// # Errors
    /// `extra` has an entry with a reserved name. The object would have that key twice and could
    /// not be decoded.
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
