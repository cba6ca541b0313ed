//! Actum: applications whose state is a log of events.
//!
//! Write an [`Aggregate`] that decides and folds, a [`ReadModel`] that answers or a [`Projection`] with
//! tables of your own, and start an [`Application`] on a store: commands become durable events in one
//! global order, read models and projections follow them and resume after any crash.
//! `framework/docs/architecture.md` tells how.
//!
//! Everything public is listed here. Cargo features only add items:
//! * `sqlite` (default): `SqliteStore`, the embedded database.
//! * `postgres`: `PostgresStore`, for several processes on one log.
//! * `postgres-tls`: the same over TLS, with `?sslmode=require` or stricter in its URL.
//! * `actix-web`: the module `web`: problem documents, the `Idempotency-Key` header, answers that
//!   say how fresh they are, server-sent events.
//! * `webhooks`: the module `webhook`: signed calls to addresses that strangers chose.
//! * `testing`: the module `testing`: `Scenario`, the conformance suite for stores, mocks and faults.
//! * `failpoints`: for the tests of Actum itself. The variable `ACTUM_CRASH_AT` then aborts the
//!   process, so no application should enable it.

mod actor;
mod aggregate;
mod application;
mod byte_budget;
#[cfg(feature = "webhooks")]
mod callback;
mod checkpoint;
mod claim;
mod clock;
mod codec;
mod command;
#[cfg(feature = "failpoints")]
mod crash;
#[cfg(not(feature = "failpoints"))]
#[path = "crash_off.rs"]
mod crash;
mod document;
mod error;
mod event;
mod event_store;
mod guard;
mod later;
mod lease;
mod live;
pub mod metrics;
mod parking;
mod projection;
mod projection_store;
mod projector;
mod read_model;
mod refusal;
mod settings;
mod snapshot;
mod sources;
mod spans;
mod sql;
mod status;
mod store;
mod stream;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod threads;
#[cfg(test)]
mod till;
mod version;
mod versions;
#[cfg(feature = "actix-web")]
pub mod web;
#[cfg(feature = "webhooks")]
pub mod webhook;

pub use aggregate::{Aggregate, Loaded};
pub use application::{Application, ApplicationBuilder, Readiness, Stopped};
pub use checkpoint::{Advance, Checkpoint, CheckpointStore, PartitionId, partition_of};
pub use claim::{Claim, MAX_CLAIM_BYTES};
pub use clock::{Clock, SystemClock};
pub use codec::{CodecError, Encoded, EventCodec, Upcaster};
pub use command::{CommandKey, CommandOptions, Committed, InvalidCommandId, MAX_COMMAND_ID_BYTES};
pub use document::{
    DocumentBatch, DocumentRange, DocumentStore, DocumentsAt, MAX_LIST, MAX_LIST_BYTES, ParkedAt,
    Store, StoredPage,
};
pub use error::{BoxError, CommandError, OperationError, ReadError, StartError, StoreError};
pub use event::{EventEnvelope, MAX_EVENT_TYPE_BYTES, Metadata, NewEvent, RecordedEvent};
pub use event_store::{
    Append, AppendOutcome, Confirmation, EventStore, Filter, LogIdentity, MAX_APPEND_BYTES,
    MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES, NotCommitted, Page, PageLimit,
};
pub use later::{
    AcceptedCommand, CallbackState, CallbackStatus, Called, CommandEvent, CommandState,
    CommandStatus,
};
pub use lease::{Lease, LeaseStore};
pub use live::{Changed, LiveChanges, LiveDocument, LiveEvents};
pub use parking::{ParkedChange, ParkedKey, ParkedPage, ParkedRequest, SkippedEvent};
pub use projection::{ComparedRows, MAX_PROJECTION_NAME_BYTES, Projection};
pub use projection_store::{ProjectionDatabase, ProjectionStore, SqlSnapshot, SqlTransaction};
pub use read_model::{
    Document, DocumentPage, Fold, MAX_DOCUMENT_BYTES, MAX_KEY_BYTES, ReadModel, Sources,
};
pub use refusal::RefusalCode;
pub use settings::Settings;
pub use snapshot::{Snapshot, SnapshotStore, Snapshots};
pub use sources::{EventKeys, EventSources, MAX_KEYS_PER_EVENT};
pub use sql::{FromSql, SqlConnection, SqlError, SqlExecutor, SqlRow, SqlValue};
pub use status::{
    LastError, LogStatus, MAX_LISTED_PARKED, ParkedStatus, PartitionStatus, Status,
    SubscriptionState, SubscriptionStatus,
};
pub use store::memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use store::sql::postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
pub use store::sql::sqlite::{Backup, SqliteOptions, SqliteStore};
pub use stream::{
    ExpectedVersion, GlobalPosition, InvalidStreamId, MAX_ID_BYTES, StreamId, StreamVersion,
};
pub use version::{Comparison, Difference, StoredVersion, Version, VersionNote, VersionStore};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
