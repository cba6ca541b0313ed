//! The log in PostgreSQL: many processes, one order, full durability.
//!
//! [`PostgresStore`] is the face. `open` and `schema` open the log and refuse what is not this program's,
//! `history` compares events by position and id, `writer` has the one connection that writes. `read`,
//! `rows`, `checkpoints`, `claims`, `versions` and `leases` hold the statements of their tables,
//! `connections` the other connections, `signals` the notifications, `fault` the meaning of errors.
//! The migrations hold the functions that write.

mod checkpoints;
mod claims;
mod connections;
mod documents;
mod epoch;
mod fault;
mod groups;
mod history;
mod lane;
mod leases;
mod list;
mod notes;
mod open;
mod options;
mod projection;
mod read;
mod rows;
mod schema;
mod signals;
mod timestamp;
mod versions;
mod writer;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::options::PostgresOptions;

use self::connections::Connections;
use self::open::Opening;
use super::contract::{
    Append, AppendOutcome, Checkpoint, CheckpointStore, Confirmation, DocumentBatch, DocumentRange,
    DocumentStore, DocumentsAt, EventStore, Filter, Lease, LeaseStore, LogIdentity, Page,
    PageLimit, ParkedKey, ParkedPage, ParkedRequest, PartitionId, Renewal, Renewed, SkippedEvent,
    Snapshot, SnapshotStore, StoredPage, StoredVersion, Version, VersionNote, VersionStore,
};
use super::kit::group_commit::Committer;
use crate::command::{Claim, CommandKey};
use crate::error::{StartError, StoreError};
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};

/// A log in a PostgreSQL database.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let store = actum::PostgresStore::open("postgres://localhost/bank").await?;
/// let app = actum::Application::builder(store).start().await?;
/// # Ok(()) }
/// ```
///
/// It is in the schema `actum` or the one that [`PostgresOptions::schema`] names. Any number of
/// processes may have it open. Clones are the same store; when the last is dropped, what is queued
/// is still written.
#[derive(Clone)]
pub struct PostgresStore {
    /// Documents and snapshots do not ride along: they would be written under the writer lock,
    /// for which other processes wait.
    committer: Committer<Infallible>,
    connections: Arc<Connections>,
    identity: LogIdentity,
    head: watch::Receiver<GlobalPosition>,
    trouble: watch::Receiver<Option<String>>,
    place: Arc<str>,
    opening: Arc<Opening>,
}

impl PostgresStore {
    /// Opens the log at `postgres://user:password@host:port/database`, making its tables if they
    /// do not exist.
    ///
    /// # Errors
    /// [`StartError`] with the address: the database cannot be reached or is not the primary, its
    /// schema `actum` is another program's or a newer release's, a pooler stands in between, or a
    /// setting would break a promise. Nothing is changed then.
    pub async fn open(url: &str) -> Result<Self, StartError> {
        PostgresOptions::new(url).open().await
    }
}

#[async_trait]
impl EventStore for PostgresStore {
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
        self.delete_commands(recorded_before, at_most).await
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

    fn is_sole_writer(&self) -> bool {
        false
    }

    fn settings(&self) -> BTreeMap<&'static str, String> {
        self.opening.settings.all()
    }

    fn trouble(&self) -> Option<String> {
        self.opening.history.lost().or_else(|| self.trouble.borrow().clone())
    }

    fn watch_history(&self) -> watch::Receiver<Option<String>> {
        self.opening.history.watch()
    }
}

#[async_trait]
impl SnapshotStore for PostgresStore {
    async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, StoreError> {
        self.read_snapshot(stream).await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.upsert_snapshot(snapshot).await
    }
}

#[async_trait]
impl CheckpointStore for PostgresStore {
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
        self.leave_request(model, key, position, request).await
    }
}

#[async_trait]
impl DocumentStore for PostgresStore {
    async fn load_documents(
        &self,
        model: &str,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.read_documents(model, keys).await
    }

    async fn load_documents_at(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        self.read_documents_at(partition, keys).await
    }

    async fn scan_documents(
        &self,
        model: &str,
        after: Option<&str>,
        limit: PageLimit,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.read_documents_after(model, after, limit).await
    }

    async fn list_documents(
        &self,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError> {
        self.read_page(model, range).await
    }

    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError> {
        self.upsert_documents(batch).await
    }
}

#[async_trait]
impl LeaseStore for PostgresStore {
    async fn acquire_lease(
        &self,
        name: &str,
        owner: Uuid,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        self.take_lease(name, owner, duration).await
    }

    async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Result<bool, StoreError> {
        self.extend_lease(lease, duration).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        self.end_lease(lease).await
    }

    async fn holders(&self, names: &[String]) -> Result<Vec<Option<Uuid>>, StoreError> {
        self.find_holders(names).await
    }

    async fn join(
        &self,
        model: &str,
        process: Uuid,
        duration: Duration,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.add_member(model, process, duration).await
    }

    async fn renew_all(&self, renewal: &Renewal) -> Result<Renewed, StoreError> {
        self.extend_all(renewal).await
    }

    async fn leave(&self, model: &str, process: Uuid) -> Result<(), StoreError> {
        self.remove_member(model, process).await
    }
}

#[async_trait]
impl VersionStore for PostgresStore {
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
