//! Actum: applications whose state is a log of events.
//!
//! Write an [`Aggregate`] that decides commands and folds events, a [`ReadModel`] with documents or
//! a [`Projection`] with SQL tables of your own, and start an [`Application`] on a store. Commands
//! become durable events in one global order. Read models and projections follow them and resume
//! after any crash. `framework/docs/architecture.md` explains the design.
//!
//! All public items are listed here. Cargo features only add items:
//! * `sqlite` (default): `SqliteStore`, the embedded database.
//! * `postgres`: `PostgresStore`, for several processes on one log.
//! * `postgres-tls`: `PostgresStore` over TLS, with `?sslmode=require` or stricter in its URL.
//! * `web`: the module `web`: requests and answers, routes and their OpenAPI document, API keys, and the
//!   server around them with its operations API.
//! * `web-tls`: TLS on the server's public address.
//! * `jwt`: `web::Jwt`, which authenticates people by the tokens of their issuer.
//! * `prometheus`: `web::Prometheus`, the metrics at `/metrics` of the operations API.
//! * `webhooks`: the module `webhook`: signed calls to addresses that strangers chose.
//! * `testing`: the module `testing`: `Scenario`, the conformance suite for stores, mocks and
//!   faults.
//! * `failpoints`: for the tests of Actum itself. The variable `ACTUM_CRASH_AT` then aborts the
//!   process, so no application should enable it.

mod aggregate;
mod application;
mod backoff;
mod box_error;
mod byte_budget;
mod catch_panic;
mod clock;
mod command;
mod deferred;
mod error;
mod event;
mod failpoints;
pub mod guides;
mod live;
pub mod metrics;
pub(crate) mod partition;
mod projection;
pub(crate) mod reaction;
mod read_model;
mod settings;
mod spans;
mod status;
pub mod store;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod threads;
#[cfg(test)]
mod till;
mod versions;
#[cfg(feature = "web")]
pub mod web;
#[cfg(feature = "webhooks")]
pub mod webhook;

pub use self::aggregate::{Aggregate, Loaded};
pub use self::application::{
    Application, ApplicationBuilder, List, Operations, Query, Read, Readiness, Stopped,
};
pub use self::clock::{Clock, SystemClock};
pub use self::command::{
    Claim, CommandKey, CommandOptions, Committed, InvalidCommandId, MAX_CLAIM_BYTES,
    MAX_COMMAND_ID_BYTES, NoRefusal, RefusalCode,
};
pub use self::deferred::{
    AcceptedCommand, CallbackState, CallbackStatus, Called, CommandEvent, CommandState,
    CommandStatus,
};
pub use self::error::{BoxError, CommandError, OperationError, ReadError, StartError, StoreError};
pub use self::event::codec::{CodecError, Encoded, EventCodec, Upcaster};
pub use self::event::{
    EventEnvelope, ExpectedVersion, GlobalPosition, InvalidStreamId, MAX_EVENT_TYPE_BYTES,
    MAX_ID_BYTES, Metadata, NewEvent, RecordedEvent, StreamId, StreamVersion,
};
pub use self::live::{Changed, LiveChanges, LiveDocument, LiveEvents};
pub use self::projection::{ComparedRows, Projection};
pub use self::read_model::{Document, DocumentPage, Fold, ReadModel, Sources};
pub use self::settings::Settings;
pub use self::status::{
    LastError, LogStatus, MAX_LISTED_PARKED, ParkedStatus, PartitionStatus, Status,
    SubscriptionState, SubscriptionStatus,
};
pub use self::store::contract::sql::{
    FromSql, SqlConnection, SqlError, SqlExecutor, SqlRow, SqlValue,
};
pub use self::store::contract::{
    AnyStore, Append, AppendOutcome, Checkpoint, CheckpointStore, CheckpointUpdate, Comparison,
    Confirmation, Difference, DocumentBatch, DocumentRange, DocumentStore, DocumentsAt, EventStore,
    Filter, Lease, LeaseStore, LogIdentity, MAX_APPEND_BYTES, MAX_DOCUMENT_BYTES, MAX_KEY_BYTES,
    MAX_LIST, MAX_LIST_BYTES, MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES, MAX_PROJECTION_NAME_BYTES,
    NotCommitted, Page, PageLimit, ParkedAt, ParkedChange, ParkedKey, ParkedPage, ParkedQuery,
    ParkedRequest, PartitionId, ProjectionDatabase, ProjectionStore, SkippedEvent, Snapshot,
    SnapshotStore, Snapshots, SqlSnapshot, SqlTransaction, Store, StoreInfo, StoredPage,
    StoredVersion, Version, VersionNote, VersionStore, partition_of,
};
pub use self::store::memory::MemoryStore;
pub use self::store::open;
#[cfg(feature = "postgres")]
pub use self::store::postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
pub use self::store::sqlite::{Backup, SqliteOptions, SqliteStore};
pub use self::subscription::sources::{EventKeys, EventSources, MAX_KEYS_PER_EVENT};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
