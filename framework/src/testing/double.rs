//! A store that returns what a test tells it to, call by call, made by `mockall`.
//!
//! To see an application survive rare answers of a real store, put an
//! [`InterceptedStore`](super::InterceptedStore) around it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::command::CommandKey;
use crate::error::{StartError, StoreError};
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};
use crate::store::contract::{
    Append, AppendOutcome, Checkpoint, CheckpointStore, Confirmation, DocumentBatch, DocumentRange,
    DocumentStore, DocumentsAt, EventStore, Filter, Lease, LeaseStore, OpenWork, Page, PageLimit,
    ParkedPage, ParkedQuery, ParkedRequest, PartitionId, ProjectionDatabase, ProjectionStore,
    SkippedEvent, Snapshot, SnapshotStore, StoreInfo, StoredPage, StoredVersion, Version,
    VersionNote, VersionStore, WorkDue,
};

/// Reply of a store.
type Answer<T> = Result<T, StoreError>;

mockall::mock! {
    /// A store by expectation: `store.expect_head().returning(|| Ok(GlobalPosition(7)))`. It panics
    /// at a call that no test expected, and when it is dropped before an expected call.
    pub Store {}

    #[async_trait]
    impl EventStore for Store {
        async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome>;
        async fn confirm(
            &self,
            stream: &StreamId,
            version: StreamVersion,
            command: Option<CommandKey>,
        ) -> Answer<Confirmation>;
        async fn read_stream(
            &self,
            stream: &StreamId,
            after: StreamVersion,
            limit: PageLimit,
        ) -> Answer<Vec<RecordedEvent>>;
        async fn read_all(
            &self,
            after: GlobalPosition,
            filter: &Filter,
            limit: PageLimit,
        ) -> Answer<Page>;
        async fn read_positions(
            &self,
            positions: &[GlobalPosition],
            limit: PageLimit,
        ) -> Answer<Vec<Arc<RecordedEvent>>>;
        async fn claim_holder(&self, kind: &str, value: &str) -> Answer<Option<StreamId>>;
        async fn prune_commands(&self, before: OffsetDateTime, at_most: usize) -> Answer<bool>;
        async fn head(&self) -> Answer<GlobalPosition>;
        fn info(&self) -> StoreInfo;
    }

    #[async_trait]
    impl CheckpointStore for Store {
        async fn load_checkpoint(&self, partition: &PartitionId) -> Answer<Option<Checkpoint>>;
        async fn load_parked(&self, model: &str, query: &ParkedQuery) -> Answer<ParkedPage>;
        async fn load_skipped(&self, model: &str) -> Answer<Vec<SkippedEvent>>;
        async fn request_parked(
            &self,
            model: &str,
            key: &str,
            position: GlobalPosition,
            request: ParkedRequest,
        ) -> Answer<bool>;
    }

    #[async_trait]
    impl DocumentStore for Store {
        async fn load_documents(
            &self,
            partition: &PartitionId,
            keys: &[String],
        ) -> Answer<DocumentsAt>;
        async fn list_documents(&self, model: &str, range: &DocumentRange) -> Answer<StoredPage>;
        async fn load_work(
            &self,
            partition: &PartitionId,
            after: Option<WorkDue>,
            limit: PageLimit,
        ) -> Answer<Vec<OpenWork>>;
        async fn save_documents(&self, batch: DocumentBatch) -> Answer<()>;
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
        async fn all_versions(&self) -> Answer<Vec<StoredVersion>>;
        async fn note_version(
            &self,
            name: &str,
            version: u32,
            note: VersionNote,
            text: &str,
        ) -> Answer<()>;
        async fn version_note(&self, name: &str, version: u32, note: VersionNote)
            -> Answer<Option<String>>;
        async fn serve_version(&self, name: &str, from: u32, to: Option<u32>) -> Answer<bool>;
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
        let confirmed = store.confirm(&stream, StreamVersion(1), Some(key)).await.unwrap();
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
