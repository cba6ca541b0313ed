//! The contract of a store: one trait for each thing it keeps, and [`Store`] for all of them together.
//!
//! A store keeps the log, the documents of read models, checkpoints, open work, leases, parked keys,
//! snapshots, the tables of projections and the versions of all that follows the log.

mod checkpoint_store;
mod document_store;
mod event_store;
mod lease_store;
mod open_work;
mod parked_key;
mod pause;
mod projection_store;
mod snapshot_store;
pub(crate) mod sql;
mod store_info;
mod version_store;

pub use self::checkpoint_store::{
    Checkpoint, CheckpointStore, CheckpointUpdate, PartitionId, partition_of,
};
pub(crate) use self::document_store::is_valid_key;
pub use self::document_store::{
    AnyStore, DocumentBatch, DocumentRange, DocumentStore, DocumentsAt, MAX_DOCUMENT_BYTES,
    MAX_KEY_BYTES, MAX_KEYS_PER_EVENT, MAX_LIST, MAX_LIST_BYTES, ParkedAt, Store, StoredPage,
};
pub(crate) use self::event_store::event_bytes;
pub use self::event_store::{
    Append, AppendOutcome, Confirmation, EventStore, Filter, MAX_APPEND_BYTES, MAX_METADATA_BYTES,
    MAX_PAYLOAD_BYTES, NotCommitted, Page, PageLimit,
};
pub use self::lease_store::{Lease, LeaseStore, Renewal, Renewed};
pub use self::open_work::{OpenWork, WorkChange, WorkDue};
pub use self::parked_key::{
    ParkedChange, ParkedKey, ParkedPage, ParkedQuery, ParkedRequest, SkippedEvent,
};
pub use self::pause::Pause;
pub(crate) use self::pause::name_and_version;
pub(crate) use self::projection_store::check_projection_name;
pub use self::projection_store::{
    MAX_PROJECTION_NAME_BYTES, ProjectionDatabase, ProjectionStore, SqlSnapshot, SqlTransaction,
};
pub use self::snapshot_store::{Snapshot, SnapshotStore, Snapshots};
pub use self::store_info::{LogIdentity, StoreInfo};
pub use self::version_store::{
    Comparison, Difference, StoredVersion, Version, VersionNote, VersionStore,
};
