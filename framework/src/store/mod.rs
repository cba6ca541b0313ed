//! Stores: where an application keeps its log and everything that follows from it.
//!
//! Applications name a store once, when they open it. The rest of this module is for those who write
//! one: the contract as traits, and the [`kit`].
#![doc = include_str!("../../docs/guides/writing-a-store.md")]

pub(crate) mod contract;
pub mod kit;
pub(crate) mod memory;
pub(crate) mod open;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod sql;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

pub use self::contract::sql::{FromSql, SqlExecutor};
pub use self::contract::{
    Append, AppendOutcome, Checkpoint, CheckpointStore, CheckpointUpdate, Comparison, Confirmation,
    Difference, DocumentBatch, DocumentRange, DocumentStore, DocumentsAt, EventStore, Filter,
    Lease, LeaseStore, LogIdentity, MAX_APPEND_BYTES, MAX_DOCUMENT_BYTES, MAX_KEY_BYTES,
    MAX_KEYS_PER_EVENT, MAX_LIST, MAX_LIST_BYTES, MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES,
    MAX_PROJECTION_NAME_BYTES, NotCommitted, Page, PageLimit, ParkedAt, ParkedChange, ParkedKey,
    ParkedPage, ParkedQuery, ParkedRequest, PartitionId, ProjectionDatabase, ProjectionStore,
    Renewal, Renewed, SkippedEvent, Snapshot, SnapshotStore, SqlSnapshot, SqlTransaction, Store,
    StoreInfo, StoredPage, StoredVersion, Version, VersionNote, VersionStore, partition_of,
};
pub use self::memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{Backup, SqliteOptions, SqliteStore};
pub use crate::clock::{Clock, SystemClock};
pub use crate::command::{ClaimName, InvalidCommandId, MAX_CLAIM_BYTES, MAX_COMMAND_ID_BYTES};
pub use crate::event::{
    InvalidStreamId, MAX_EVENT_TYPE_BYTES, MAX_ID_BYTES, NewEvent, RecordedEvent, Tip,
};
