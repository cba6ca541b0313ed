//! Snapshots: a shortcut for loading, never the truth.
//!
//! A snapshot is used only if its checksum holds, its state version is today's, and the log still
//! has the very event it was taken at; otherwise it is ignored and the events are folded.

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::StoreError;
use crate::event::codec::is_same_json;
use crate::event::{GlobalPosition, StreamId, StreamVersion};

/// Snapshot policy of an aggregate: the number of events between snapshots, and the encoding of the
/// state as JSON. [`Aggregate::snapshots`](crate::Aggregate::snapshots) returns it.
///
/// ```
/// use actum::{Aggregate, Snapshots};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// struct Account {
///     cents: i64,
/// }
///
/// impl Aggregate for Account {
/// #     const TYPE: &'static str = "account";
/// #     type Command = i64; type Event = Event; type Error = std::fmt::Error;
/// #     fn handle(&self, cents: i64) -> Result<Vec<Event>, std::fmt::Error> {
/// #         Ok(vec![Event::Credited { cents }])
/// #     }
/// #     fn apply(&mut self, event: &Event) {
/// #         let Event::Credited { cents } = event;
/// #         self.cents += cents;
/// #     }
///     // …
///     fn snapshots() -> Option<Snapshots<Self>> {
///         Some(Snapshots::every(1_000, 1)) // raise 1 when the state or its meaning changes
///     }
/// }
/// # #[derive(PartialEq, Serialize, Deserialize)]
/// # enum Event { Credited { cents: i64 } }
/// ```
pub struct Snapshots<A> {
    pub(crate) every: u64,
    pub(crate) state_version: u32,
    pub(crate) encode: fn(&A) -> Result<String, serde_json::Error>,
    pub(crate) decode: fn(&str) -> Result<A, serde_json::Error>,
}

impl<A: Serialize + DeserializeOwned> Snapshots<A> {
    /// Saves a snapshot after every `events` events (at least 1). Raise `state_version` whenever the
    /// state's fields or the meaning of `apply` change: older snapshots are then ignored.
    pub fn every(events: u64, state_version: u32) -> Self {
        Self {
            every: events.max(1),
            state_version,
            encode: |state| serde_json::to_string(state),
            decode: |text| serde_json::from_str(text),
        }
    }
}

impl<A> Snapshots<A> {
    /// The state as text, checked: decoded and encoded again it is the same. A snapshot that changes
    /// the state would make processes that load it decide differently from those that fold events.
    pub(crate) fn round_trip(&self, state: &A) -> Result<String, String> {
        let text = (self.encode)(state).map_err(|error| error.to_string())?;
        let decoded = (self.decode)(&text).map_err(|e| format!("it cannot be decoded: {e}"))?;
        let again = (self.encode)(&decoded).map_err(|error| error.to_string())?;
        match is_same_json(&text, &again) {
            true => Ok(text),
            false => Err("it is another state after encoding and decoding".to_owned()),
        }
    }
}

/// The state of one aggregate after one of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The aggregate.
    pub stream: StreamId,
    /// The last event folded in.
    pub version: StreamVersion,
    /// Position of that event.
    pub position: GlobalPosition,
    /// The id of that event: a log that was rewound may have another one there.
    pub event_id: Uuid,
    /// The number the aggregate gave its state's shape.
    pub state_version: u32,
    /// The state as a JSON text.
    pub state: String,
    /// Digest of the state, to notice a torn or altered row.
    pub checksum: [u8; 16],
}

impl Snapshot {
    /// A snapshot with its checksum.
    pub fn new(
        stream: StreamId,
        version: StreamVersion,
        position: GlobalPosition,
        event_id: Uuid,
        state_version: u32,
        state: String,
    ) -> Self {
        let checksum = digest(&state);
        Self { stream, version, position, event_id, state_version, state, checksum }
    }

    /// Checks that the state is what was saved.
    pub fn is_intact(&self) -> bool {
        self.checksum == digest(&self.state)
    }
}

fn digest(state: &str) -> [u8; 16] {
    let mut checksum = [0; 16];
    checksum.copy_from_slice(&Sha256::digest(state)[..16]);
    checksum
}

/// A store of snapshots: at most one for each stream, the newest.
///
/// By default no snapshot is kept, which only makes loading slower. A store that keeps them says so
/// in [`StoreInfo::keeps_snapshots`](super::StoreInfo::keeps_snapshots).
#[async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// The stream's snapshot, if there is one, intact or not.
    ///
    /// # Errors
    /// The store is not available. (A row that cannot be read at all is no snapshot.)
    async fn load_snapshot(&self, _stream: &StreamId) -> Result<Option<Snapshot>, StoreError> {
        Ok(None)
    }

    /// Keeps this snapshot in place of the stream's older one. One that is not newer changes nothing.
    ///
    /// # Errors
    /// It was not kept; nothing depends on that.
    async fn save_snapshot(&self, _snapshot: Snapshot) -> Result<(), StoreError> {
        Ok(())
    }
}
