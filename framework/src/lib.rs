//! Actum: applications whose state is a log of events.

mod aggregate;
mod clock;
mod codec;
mod command;
mod document;
mod error;
mod event;
mod event_store;
mod read_model;
mod snapshot;
mod store;
mod stream;
mod subscription;

pub use aggregate::Aggregate;
pub use clock::{Clock, SystemClock};
pub use codec::{CodecError, Encoded, EventCodec, Upcaster};
pub use command::{CommandKey, CommandOptions, Committed, InvalidCommandId, MAX_COMMAND_ID_BYTES};
pub use document::{Checkpoint, DocumentBatch, DocumentStore, Store};
pub use error::{BoxError, CommandError, ReadError, StartError, StoreError};
pub use event::{EventEnvelope, Metadata, NewEvent, RecordedEvent};
pub use event_store::{
    Append, AppendOutcome, Confirmation, EventStore, Filter, LogIdentity, MAX_EVENT_TYPE_BYTES,
    MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES, NotCommitted, Page,
};
pub use read_model::{Fold, ReadModel, Sources};
pub use snapshot::{Snapshot, SnapshotStore, Snapshots};
pub use store::memory::MemoryStore;
pub use stream::{
    ExpectedVersion, GlobalPosition, InvalidStreamId, MAX_ID_BYTES, StreamId, StreamVersion,
};
