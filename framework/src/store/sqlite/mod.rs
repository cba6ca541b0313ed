//! The embedded log: one SQLite file, one writing process, full durability.
//!
//! [`SqliteStore`] implements the store's contract; opening and its refusals are in `path`, `lock`,
//! `wal`, `open` and `schema`, the one writing connection in `writer`, pages in `read`, the end in
//! `close`, copies in `backup` and `restore`, the meaning of an error of the database in `fault`.

mod backup;
mod checkpoints;
mod claims;
mod close;
mod commands;
mod documents;
mod doubt;
mod fault;
mod inode;
mod list;
mod lock;
mod notes;
mod open;
mod options;
mod origin;
mod page;
mod path;
mod program;
mod projection;
mod read;
mod reader;
mod restore;
mod rows;
mod schema;
mod side_write;
mod small_batch;
mod tips;
mod trouble;
mod versions;
mod wal;
mod wal_size;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqlitePool;
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::backup::Backup;
use self::checkpoints::Request;
use self::commands::Prune;
use self::open::Opening;
pub use self::options::SqliteOptions;
use self::projection::Projections;
use self::side_write::SideWrite;

use super::contract::{
    Append, AppendOutcome, Checkpoint, CheckpointStore, Confirmation, EventStore, Filter, Lease,
    LeaseStore, LogIdentity, Page, PageLimit, ParkedKey, ParkedPage, ParkedRequest, PartitionId,
    SkippedEvent, Snapshot, SnapshotStore, StoredVersion, Version, VersionNote, VersionStore,
};
use super::handles::Handle;
use super::kit::group_commit::Committer;
use super::kit::leases::Leases;
use crate::command::{Claim, CommandKey};
use crate::error::{StartError, StoreError};
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};

/// A log in an SQLite file.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let store = actum::SqliteStore::open("bank.db").await?;
/// let app = actum::Application::builder(store).start().await?;
/// # Ok(()) }
/// ```
///
/// Clones are the same store. An application that has the last one closes it when it shuts down;
/// else call [`SqliteStore::close`]: a dropped store closes in the background, perhaps too late.
#[derive(Clone)]
pub struct SqliteStore {
    committer: Committer<SideWrite>,
    head: watch::Receiver<GlobalPosition>,
    readers: SqlitePool,
    leases: Leases,
    identity: LogIdentity,
    place: Arc<str>,
    opening: Arc<Opening>,
    projections: Projections,
    /// Counts the clones.
    handles: Arc<()>,
    handle: Handle,
}

impl SqliteStore {
    /// Opens the log at `bank.db` or `sqlite:bank.db`, making the file if it does not exist.
    ///
    /// # Errors
    /// [`StartError`] with the path: the file is no database, read-only, open in another process
    /// or written by a newer release, or a setting would break a promise. Nothing is changed then.
    ///
    /// A new file, and the files beside it, can be read by this user alone (mode 0600). While the
    /// store is open, only SQLite may open the file in this process: a descriptor of your own, once
    /// closed, takes the database's locks with it.
    ///
    /// A program that keeps tables of its own in the file opens the store before its own
    /// connections, because a write-ahead log without any transaction of the store is refused. It
    /// closes its connections before the store, because the store's end takes their locks with it.
    pub async fn open(place: &str) -> Result<Self, StartError> {
        SqliteOptions::new(place).open().await
    }
}

#[async_trait]
impl EventStore for SqliteStore {
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        self.committer.append(appends).await
    }

    async fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<&CommandKey>,
    ) -> Result<Confirmation, StoreError> {
        self.read_confirmation(stream, version, command).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        self.read_stream_page(stream, after, limit).await
    }

    async fn read_all(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        self.read_log_page(after, filter, limit).await
    }

    async fn read_positions(
        &self,
        positions: &[GlobalPosition],
        limit: PageLimit,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        self.read_picked(positions, limit).await
    }

    async fn claim_holder(&self, kind: &str, value: &str) -> Result<Option<StreamId>, StoreError> {
        self.read_claim_holder(Claim::take(kind, value)).await
    }

    async fn prune_commands(
        &self,
        recorded_before: OffsetDateTime,
        at_most: usize,
    ) -> Result<bool, StoreError> {
        let prune = Prune { recorded_before, at_most };
        self.write_beside(SideWrite::Prune(prune)).await
    }

    async fn claim_program(&self, name: &str) -> Result<String, StoreError> {
        self.keep_program(name).await
    }

    async fn head(&self) -> Result<GlobalPosition, StoreError> {
        self.read_head().await
    }

    fn identity(&self) -> LogIdentity {
        self.identity
    }

    fn watch_head(&self) -> watch::Receiver<GlobalPosition> {
        self.head.clone()
    }

    fn trouble(&self) -> Option<String> {
        self.opening.held.check().err().or_else(|| self.opening.trouble.now())
    }

    fn wal_bytes(&self) -> Option<u64> {
        Some(self.opening.wal_bytes.load(Ordering::Relaxed))
    }

    async fn release(&self) -> Result<(), StoreError> {
        match Arc::strong_count(&self.handles) {
            1 => self.close().await,
            _ => Ok(()),
        }
    }

    fn settings(&self) -> BTreeMap<&'static str, String> {
        self.opening.settings.all()
    }

    fn is_sole_writer(&self) -> bool {
        true
    }

    fn is_only_handle(&self) -> bool {
        self.handle.is_only_one()
    }
}

#[async_trait]
impl SnapshotStore for SqliteStore {
    async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, StoreError> {
        self.read_snapshot(stream).await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.write_beside(SideWrite::Snapshot(snapshot)).await.map(drop)
    }
}

#[async_trait]
impl CheckpointStore for SqliteStore {
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.read_checkpoint(partition).await
    }

    async fn load_parked(
        &self,
        model: &str,
        of: Option<&[String]>,
    ) -> Result<Vec<ParkedKey>, StoreError> {
        self.read_parked(model, of).await
    }

    async fn list_parked(
        &self,
        model: &str,
        of: Option<&[String]>,
        at_most: usize,
    ) -> Result<ParkedPage, StoreError> {
        self.read_parked_page(model, of, at_most).await
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        self.read_skipped(model).await
    }

    async fn load_requests(
        &self,
        model: &str,
    ) -> Result<Vec<(String, GlobalPosition, ParkedRequest)>, StoreError> {
        self.read_requests(model).await
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        let (model, key) = (model.to_owned(), key.to_owned());
        let request = Request { model, key, position, request };
        self.write_beside(SideWrite::Request(request)).await
    }
}

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn acquire_lease(
        &self,
        name: &str,
        owner: Uuid,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let granted = self.leases.acquire(name, owner, duration);
        if granted.as_ref().is_some_and(|lease| lease.token > 1) {
            // What was queued under an older token is stored or refused before this is answered.
            self.committer.append(Vec::new()).await;
        }
        Ok(granted)
    }

    async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Result<bool, StoreError> {
        Ok(self.leases.renew(lease, duration))
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        self.leases.release(lease);
        Ok(())
    }

    async fn holders(&self, names: &[String]) -> Result<Vec<Option<Uuid>>, StoreError> {
        Ok(self.leases.holders(names))
    }

    async fn join(
        &self,
        model: &str,
        process: Uuid,
        duration: Duration,
    ) -> Result<Vec<Uuid>, StoreError> {
        Ok(self.leases.join(model, process, duration))
    }

    async fn leave(&self, model: &str, process: Uuid) -> Result<(), StoreError> {
        self.leases.leave(model, process);
        Ok(())
    }
}

#[async_trait]
impl VersionStore for SqliteStore {
    async fn register_version(
        &self,
        name: &str,
        version: u32,
        partitions: u32,
    ) -> Result<Vec<Version>, StoreError> {
        self.add_version(name, version, partitions).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<Version>, StoreError> {
        self.read_versions(name).await
    }

    async fn all_versions(&self) -> Result<Vec<StoredVersion>, StoreError> {
        self.read_all_versions().await
    }

    async fn retire_version(&self, name: &str, version: u32) -> Result<(), StoreError> {
        self.end_serving(name, version).await
    }

    async fn note_version(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
        text: &str,
    ) -> Result<(), StoreError> {
        self.write_note(name, version, note, text).await
    }

    async fn version_note(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
    ) -> Result<Option<String>, StoreError> {
        self.read_note(name, version, note).await
    }

    async fn serve_version(&self, name: &str, from: u32, to: u32) -> Result<bool, StoreError> {
        self.switch_version(name, from, to).await
    }

    async fn drop_version(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        self.remove_version(name, version).await
    }
}
