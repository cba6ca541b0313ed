//! A mock of a store, made with `mockall`, that returns what a test defines for each call. For
//! tests of your own code. To test that an application survives rare results of a store, wrap a
//! real store in a [`FaultyStore`](super::faulty::FaultyStore).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::command::CommandKey;
use crate::error::{StartError, StoreError};
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};
use crate::store::contract::{
    Append, AppendOutcome, Checkpoint, CheckpointStore, Confirmation, DocumentBatch, DocumentRange,
    DocumentStore, DocumentsAt, EventStore, Filter, Lease, LeaseStore, LogIdentity, Page,
    PageLimit, ParkedKey, ParkedRequest, PartitionId, ProjectionDatabase, ProjectionStore,
    SkippedEvent, Snapshot, SnapshotStore, StoredPage, StoredVersion, Version, VersionNote,
    VersionStore,
};

/// Result of a store's method.
type Answer<T> = Result<T, StoreError>;

/// Methods of all store traits in one trait and in a form that `mockall` accepts: without a
/// lifetime inside an `Option`.
pub trait Calls {
    fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome>;
    fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<CommandKey>,
    ) -> Answer<Confirmation>;
    fn read_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Answer<Vec<RecordedEvent>>;
    fn read_all(&self, after: GlobalPosition, filter: &Filter, limit: PageLimit) -> Answer<Page>;
    fn read_positions(
        &self,
        positions: &[GlobalPosition],
        limit: PageLimit,
    ) -> Answer<Vec<Arc<RecordedEvent>>>;
    fn claim_holder(&self, kind: &str, value: &str) -> Answer<Option<StreamId>>;
    fn prune_commands(&self, before: OffsetDateTime, at_most: usize) -> Answer<bool>;
    fn head(&self) -> Answer<GlobalPosition>;
    fn identity(&self) -> LogIdentity;
    fn watch_head(&self) -> watch::Receiver<GlobalPosition>;
    fn is_sole_writer(&self) -> bool;
    fn load_checkpoint(&self, partition: &PartitionId) -> Answer<Option<Checkpoint>>;
    fn load_parked(&self, model: &str, of: Option<Vec<String>>) -> Answer<Vec<ParkedKey>>;
    fn load_skipped(&self, model: &str) -> Answer<Vec<SkippedEvent>>;
    fn load_requests(&self, model: &str) -> Answer<Vec<(String, GlobalPosition, ParkedRequest)>>;
    fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Answer<bool>;
    fn load_documents(&self, model: &str, keys: &[String]) -> Answer<Vec<(String, String)>>;
    fn load_documents_at(&self, partition: &PartitionId, keys: &[String]) -> Answer<DocumentsAt>;
    fn scan_documents(
        &self,
        model: &str,
        after: Option<String>,
        limit: PageLimit,
    ) -> Answer<Vec<(String, String)>>;
    fn list_documents(&self, model: &str, range: &DocumentRange) -> Answer<StoredPage>;
    fn save_documents(&self, batch: DocumentBatch) -> Answer<()>;
}

#[async_trait]
impl EventStore for MockStore {
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        Calls::append(self, appends)
    }

    async fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<&CommandKey>,
    ) -> Result<Confirmation, StoreError> {
        Calls::confirm(self, stream, version, command.cloned())
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        Calls::read_stream(self, stream, after, limit)
    }

    async fn read_all(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        Calls::read_all(self, after, filter, limit)
    }

    async fn read_positions(
        &self,
        positions: &[GlobalPosition],
        limit: PageLimit,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        Calls::read_positions(self, positions, limit)
    }

    async fn claim_holder(&self, kind: &str, value: &str) -> Result<Option<StreamId>, StoreError> {
        Calls::claim_holder(self, kind, value)
    }

    async fn prune_commands(
        &self,
        recorded_before: OffsetDateTime,
        at_most: usize,
    ) -> Result<bool, StoreError> {
        Calls::prune_commands(self, recorded_before, at_most)
    }

    async fn head(&self) -> Result<GlobalPosition, StoreError> {
        Calls::head(self)
    }

    fn identity(&self) -> LogIdentity {
        Calls::identity(self)
    }

    fn watch_head(&self) -> watch::Receiver<GlobalPosition> {
        Calls::watch_head(self)
    }

    fn is_sole_writer(&self) -> bool {
        Calls::is_sole_writer(self)
    }
}

#[async_trait]
impl CheckpointStore for MockStore {
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        Calls::load_checkpoint(self, partition)
    }

    async fn load_parked(
        &self,
        model: &str,
        of: Option<&[String]>,
    ) -> Result<Vec<ParkedKey>, StoreError> {
        Calls::load_parked(self, model, of.map(<[String]>::to_vec))
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        Calls::load_skipped(self, model)
    }

    async fn load_requests(
        &self,
        model: &str,
    ) -> Result<Vec<(String, GlobalPosition, ParkedRequest)>, StoreError> {
        Calls::load_requests(self, model)
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        Calls::request_parked(self, model, key, position, request)
    }
}

#[async_trait]
impl DocumentStore for MockStore {
    async fn load_documents(
        &self,
        model: &str,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        Calls::load_documents(self, model, keys)
    }

    async fn load_documents_at(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        Calls::load_documents_at(self, partition, keys)
    }

    async fn scan_documents(
        &self,
        model: &str,
        after: Option<&str>,
        limit: PageLimit,
    ) -> Result<Vec<(String, String)>, StoreError> {
        Calls::scan_documents(self, model, after.map(str::to_owned), limit)
    }

    async fn list_documents(
        &self,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError> {
        Calls::list_documents(self, model, range)
    }

    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError> {
        Calls::save_documents(self, batch)
    }
}

mockall::mock! {
    /// A mock store. Define expected calls, for example `store.expect_head().returning(||
    /// Ok(GlobalPosition(7)))`. A call that is not expected panics; so does dropping the store when
    /// an expected call is missing.
    pub Store {}

    impl Calls for Store {
        fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome>;
        fn confirm(
            &self,
            stream: &StreamId,
            version: StreamVersion,
            command: Option<CommandKey>,
        ) -> Answer<Confirmation>;
        fn read_stream(
            &self,
            stream: &StreamId,
            after: StreamVersion,
            limit: PageLimit,
        ) -> Answer<Vec<RecordedEvent>>;
        fn read_all(
            &self,
            after: GlobalPosition,
            filter: &Filter,
            limit: PageLimit,
        ) -> Answer<Page>;
        fn read_positions(
            &self,
            positions: &[GlobalPosition],
            limit: PageLimit,
        ) -> Answer<Vec<Arc<RecordedEvent>>>;
        fn claim_holder(&self, kind: &str, value: &str) -> Answer<Option<StreamId>>;
        fn prune_commands(&self, before: OffsetDateTime, at_most: usize) -> Answer<bool>;
        fn head(&self) -> Answer<GlobalPosition>;
        fn identity(&self) -> LogIdentity;
        fn watch_head(&self) -> watch::Receiver<GlobalPosition>;
        fn is_sole_writer(&self) -> bool;
        fn load_checkpoint(&self, partition: &PartitionId) -> Answer<Option<Checkpoint>>;
        fn load_parked(&self, model: &str, of: Option<Vec<String>>) -> Answer<Vec<ParkedKey>>;
        fn load_skipped(&self, model: &str) -> Answer<Vec<SkippedEvent>>;
        fn load_requests(
            &self,
            model: &str,
        ) -> Answer<Vec<(String, GlobalPosition, ParkedRequest)>>;
        fn request_parked(
            &self,
            model: &str,
            key: &str,
            position: GlobalPosition,
            request: ParkedRequest,
        ) -> Answer<bool>;
        fn load_documents(&self, model: &str, keys: &[String]) -> Answer<Vec<(String, String)>>;
        fn load_documents_at(
            &self,
            partition: &PartitionId,
            keys: &[String],
        ) -> Answer<DocumentsAt>;
        fn scan_documents(
            &self,
            model: &str,
            after: Option<String>,
            limit: PageLimit,
        ) -> Answer<Vec<(String, String)>>;
        fn list_documents(&self, model: &str, range: &DocumentRange) -> Answer<StoredPage>;
        fn save_documents(&self, batch: DocumentBatch) -> Answer<()>;
    }

    #[async_trait]
    impl SnapshotStore for Store {
        async fn load_snapshot(&self, stream: &StreamId) -> Answer<Option<Snapshot>>;
        async fn save_snapshot(&self, snapshot: Snapshot) -> Answer<()>;
    }

    #[async_trait]
    impl LeaseStore for Store {
        async fn acquire_lease(
            &self,
            name: &str,
            owner: Uuid,
            duration: Duration,
        ) -> Answer<Option<Lease>>;
        async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Answer<bool>;
        async fn release_lease(&self, lease: &Lease) -> Answer<()>;
        async fn holders(&self, names: &[String]) -> Answer<Vec<Option<Uuid>>>;
        async fn join(
            &self,
            model: &str,
            process: Uuid,
            duration: Duration,
        ) -> Answer<Vec<Uuid>>;
        async fn leave(&self, model: &str, process: Uuid) -> Answer<()>;
    }

    #[async_trait]
    impl VersionStore for Store {
        async fn register_version(
            &self,
            name: &str,
            version: u32,
            partitions: u32,
        ) -> Answer<Vec<Version>>;
        async fn versions(&self, name: &str) -> Answer<Vec<Version>>;
        async fn all_versions(&self) -> Answer<Vec<StoredVersion>>;
        async fn retire_version(&self, name: &str, version: u32) -> Answer<()>;
        async fn note_version(
            &self,
            name: &str,
            version: u32,
            note: VersionNote,
            text: &str,
        ) -> Answer<()>;
        async fn version_note(&self, name: &str, version: u32, note: VersionNote)
            -> Answer<Option<String>>;
        async fn serve_version(&self, name: &str, from: u32, to: u32) -> Answer<bool>;
        async fn drop_version(&self, name: &str, version: u32) -> Answer<bool>;
    }

    #[async_trait]
    impl ProjectionStore for Store {
        async fn open_projection(
            &self,
            name: &str,
            version: u32,
        ) -> Result<Arc<dyn ProjectionDatabase>, StartError>;
        async fn drop_projection(&self, name: &str, version: u32) -> Answer<()>;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::Store;

    async fn head_and_confirmation(store: impl Store) -> (u64, Confirmation) {
        let (stream, key) = (StreamId::new("a", "1").unwrap(), CommandKey::new("k", b"").unwrap());
        let confirmed = store.confirm(&stream, StreamVersion(1), Some(&key)).await.unwrap();
        (store.head().await.unwrap().0, confirmed)
    }

    #[tokio::test]
    async fn a_mocked_store_answers_what_it_was_told() {
        let mut store = MockStore::new();
        store.expect_head().times(1).returning(|| Ok(GlobalPosition(7)));
        store
            .expect_confirm()
            .withf(|stream, version, key| {
                stream.id() == "1"
                    && version.0 == 1
                    && key.as_ref().is_some_and(|key| key.id == "k")
            })
            .returning(|_, _, _| Ok(Confirmation::KeyReused));
        assert_eq!(head_and_confirmation(store).await, (7, Confirmation::KeyReused));
    }
}
