//! A store around another one, with hooks before and after each call.
//!
//! A test writes an [`Interceptor`] with the few methods it is about; every other call passes
//! through. The macro at the end lists the methods of the contract, so a new one is added there and
//! nowhere else.

use std::ops::Deref;
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
    AnyStore, Append, AppendOutcome, Checkpoint, CheckpointStore, Confirmation, DocumentBatch,
    DocumentRange, DocumentStore, DocumentsAt, EventStore, Filter, Lease, LeaseStore, NotCommitted,
    Page, PageLimit, ParkedPage, ParkedQuery, ParkedRequest, PartitionId, ProjectionDatabase,
    ProjectionStore, SkippedEvent, Snapshot, SnapshotStore, Store, StoreInfo, StoredPage,
    StoredVersion, Version, VersionNote, VersionStore,
};
use crate::store::kit::handles::Handle;

/// A store around another one. Its calls go through an [`Interceptor`], to which it dereferences.
///
/// ```
/// use actum::testing::{InterceptedStore, Interceptor};
/// use actum::store::MemoryStore;
/// use actum::StoreError;
///
/// struct FullDisk;
///
/// #[async_trait::async_trait]
/// impl Interceptor for FullDisk {
///     async fn before(&self, call: &'static str) -> Result<(), StoreError> {
///         match call {
///             "save_documents" => Err(StoreError::Unavailable("the disk is full".into())),
///             _ => Ok(()),
///         }
///     }
/// }
///
/// let store = InterceptedStore::around(MemoryStore::new(), FullDisk);
/// ```
pub struct InterceptedStore<I> {
    inner: Arc<dyn Store>,
    interceptor: Arc<I>,
    handle: Handle,
}

impl<I> InterceptedStore<I> {
    /// Puts the interceptor around a store. Clones share both.
    pub fn around(store: impl Into<AnyStore>, interceptor: I) -> Self {
        let inner = store.into().into_inner();
        Self { inner, interceptor: Arc::new(interceptor), handle: Handle::default() }
    }
}

// Derived, it would ask for an interceptor that can be cloned.
impl<I> Clone for InterceptedStore<I> {
    fn clone(&self) -> Self {
        let (inner, interceptor) = (Arc::clone(&self.inner), Arc::clone(&self.interceptor));
        Self { inner, interceptor, handle: self.handle.clone() }
    }
}

impl<I> Deref for InterceptedStore<I> {
    type Target = I;

    fn deref(&self) -> &I {
        &self.interceptor
    }
}

macro_rules! intercept {
    ($($topic:ident { by_hand { $($by_hand:tt)* }
        $(async fn $name:ident(&self $(, $argument:ident: $type:ty)* $(,)?) -> $answer:ty;)* })*) => {
        /// Hooks around the calls of an [`InterceptedStore`].
        ///
        /// [`before`](Self::before) and [`after`](Self::after) see every call by the name of its
        /// method: an error from `before` refuses the call, an error from `after` loses the reply to
        /// a call that was carried out, and either may wait. The other methods stand for one call
        /// each. Override one to see its arguments, to change its answer, or to swallow it.
        #[async_trait]
        pub trait Interceptor: Send + Sync + 'static {
            /// Runs before each call.
            ///
            /// # Errors
            /// The error the caller gets. The call is not carried out.
            async fn before(&self, _call: &'static str) -> Result<(), StoreError> {
                Ok(())
            }

            /// Runs after each call that was carried out.
            ///
            /// # Errors
            /// The error the caller gets in place of the reply.
            async fn after(&self, _call: &'static str) -> Result<(), StoreError> {
                Ok(())
            }

            /// See [`EventStore::info`].
            fn info(&self, store: &dyn Store) -> StoreInfo {
                store.info()
            }

            /// See [`EventStore::watch_head`].
            fn watch_head(&self, store: &dyn Store) -> watch::Receiver<GlobalPosition> {
                store.watch_head()
            }

            /// See [`EventStore::append`]. An error of `after` makes each outcome unknown.
            async fn append(&self, store: &dyn Store, appends: Vec<Append>) -> Vec<AppendOutcome> {
                let count = appends.len();
                if let Err(error) = self.before("append").await {
                    let refused = NotCommitted::Unavailable(error.to_string());
                    return vec![AppendOutcome::NotCommitted(refused); count];
                }
                let outcomes = store.append(appends).await;
                match self.after("append").await {
                    Ok(()) => outcomes,
                    Err(error) => vec![AppendOutcome::Unknown(error.to_string()); count],
                }
            }

            $($(
                #[doc = concat!("See [`", stringify!($topic), "::", stringify!($name), "`].")]
                async fn $name(&self, store: &dyn Store $(, $argument: $type)*) -> $answer {
                    self.before(stringify!($name)).await?;
                    let answer = store.$name($($argument),*).await;
                    self.after(stringify!($name)).await?;
                    answer
                }
            )*)*
        }

        $(
            #[async_trait]
            impl<I: Interceptor> $topic for InterceptedStore<I> {
                $($by_hand)*

                $(
                    async fn $name(&self $(, $argument: $type)*) -> $answer {
                        self.interceptor.$name(&*self.inner $(, $argument)*).await
                    }
                )*
            }
        )*
    };
}

intercept! {
    EventStore {
        by_hand {
            async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
                self.interceptor.append(&*self.inner, appends).await
            }

            fn info(&self) -> StoreInfo {
                let mut info = self.interceptor.info(&*self.inner);
                info.is_only_handle &= self.handle.is_only_one();
                info
            }

            fn watch_head(&self) -> watch::Receiver<GlobalPosition> {
                self.interceptor.watch_head(&*self.inner)
            }

            fn watch_history(&self) -> watch::Receiver<Option<String>> {
                self.inner.watch_history()
            }
        }
        async fn confirm(
            &self,
            stream: &StreamId,
            version: StreamVersion,
            command: Option<CommandKey>,
        ) -> Result<Confirmation, StoreError>;
        async fn read_stream(
            &self,
            stream: &StreamId,
            after: StreamVersion,
            limit: PageLimit,
        ) -> Result<Vec<RecordedEvent>, StoreError>;
        async fn read_all(
            &self,
            after: GlobalPosition,
            filter: &Filter,
            limit: PageLimit,
        ) -> Result<Page, StoreError>;
        async fn read_positions(
            &self,
            positions: &[GlobalPosition],
            limit: PageLimit,
        ) -> Result<Vec<Arc<RecordedEvent>>, StoreError>;
        async fn claim_holder(
            &self,
            kind: &str,
            value: &str,
        ) -> Result<Option<StreamId>, StoreError>;
        async fn prune_commands(
            &self,
            recorded_before: OffsetDateTime,
            at_most: usize,
        ) -> Result<bool, StoreError>;
        async fn claim_program(&self, name: &str) -> Result<String, StoreError>;
        async fn head(&self) -> Result<GlobalPosition, StoreError>;
        async fn release(&self) -> Result<(), StoreError>;
    }
    SnapshotStore {
        by_hand {}
        async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, StoreError>;
        async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError>;
    }
    CheckpointStore {
        by_hand {}
        async fn load_checkpoint(
            &self,
            partition: &PartitionId,
        ) -> Result<Option<Checkpoint>, StoreError>;
        async fn load_parked(
            &self,
            model: &str,
            query: &ParkedQuery,
        ) -> Result<ParkedPage, StoreError>;
        async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError>;
        async fn request_parked(
            &self,
            model: &str,
            key: &str,
            position: GlobalPosition,
            request: ParkedRequest,
        ) -> Result<bool, StoreError>;
    }
    DocumentStore {
        by_hand {}
        async fn load_documents(
            &self,
            partition: &PartitionId,
            keys: &[String],
        ) -> Result<DocumentsAt, StoreError>;
        async fn list_documents(
            &self,
            model: &str,
            range: &DocumentRange,
        ) -> Result<StoredPage, StoreError>;
        async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError>;
    }
    // By default `renew_all` calls the methods below, so an interceptor sees each of them.
    LeaseStore {
        by_hand {}
        async fn acquire_lease(
            &self,
            name: &str,
            owner: Uuid,
            duration: Duration,
        ) -> Result<Option<Lease>, StoreError>;
        async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Result<bool, StoreError>;
        async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError>;
        async fn holders(&self, names: &[String]) -> Result<Vec<Option<Uuid>>, StoreError>;
        async fn join(
            &self,
            model: &str,
            process: Uuid,
            duration: Duration,
        ) -> Result<Vec<Uuid>, StoreError>;
        async fn leave(&self, model: &str, process: Uuid) -> Result<(), StoreError>;
    }
    VersionStore {
        by_hand {}
        async fn register_version(
            &self,
            name: &str,
            version: u32,
            partitions: u32,
        ) -> Result<Vec<Version>, StoreError>;
        async fn all_versions(&self) -> Result<Vec<StoredVersion>, StoreError>;
        async fn versions(&self, name: &str) -> Result<Vec<Version>, StoreError>;
        async fn note_version(
            &self,
            name: &str,
            version: u32,
            note: VersionNote,
            text: &str,
        ) -> Result<(), StoreError>;
        async fn version_note(
            &self,
            name: &str,
            version: u32,
            note: VersionNote,
        ) -> Result<Option<String>, StoreError>;
        async fn serve_version(
            &self,
            name: &str,
            from: u32,
            to: Option<u32>,
        ) -> Result<bool, StoreError>;
        async fn drop_version(&self, name: &str, version: u32) -> Result<bool, StoreError>;
    }
    ProjectionStore {
        by_hand {}
        async fn open_projection(
            &self,
            name: &str,
            version: u32,
        ) -> Result<Arc<dyn ProjectionDatabase>, StartError>;
        async fn drop_projection(&self, name: &str, version: u32) -> Result<(), StoreError>;
    }
}
