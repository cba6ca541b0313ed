//! An application: one log, its aggregates and read models, and the actors that run them.
//!
//! [`Application`] has no type parameters and is cheap to clone. The type parameters of a call
//! choose the aggregate or read model. A type that is not registered is an error, not a panic.

mod builder;
#[cfg(feature = "webhooks")]
mod callbacks;
mod handlers;
mod later;
mod live;
mod observer;
mod operations;
mod outcome;
mod parked;
mod pauses;
mod processes;
mod program;
mod projections;
mod pruning;
mod read;
mod readiness;
mod running;
mod scheduled;
#[cfg(feature = "testing")]
mod settled;
mod status;
mod versions;

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use self::builder::ApplicationBuilder;
pub use self::operations::Operations;
pub use self::projections::Query;
pub use self::read::{List, Read};
pub use self::readiness::Readiness;
use self::running::Running;
pub use self::scheduled::ScheduledCommand;
use crate::aggregate::{Aggregate, Loaded, Router};
use crate::catch_panic::guarded;
use crate::command::{CommandOptions, Committed};
use crate::error::{CommandError, ReadError, StoreError};
use crate::event::codec::EventCodec;
use crate::event::{EventEnvelope, GlobalPosition, StreamId, StreamVersion};
use crate::live as streams;
use crate::read_model::{ReadModel, Served};
use crate::store::contract::{AnyStore, Confirmation, EventStore, PageLimit};

/// A running application. Clones refer to the same application.
///
/// ```
/// # use actum::Aggregate;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Clone)] struct Account;
/// # #[derive(PartialEq, Serialize, Deserialize)] enum Event { Credited { amount: i64 } }
/// # impl Aggregate for Account {
/// #     const TYPE: &'static str = "account";
/// #     type Command = i64; type Event = Event; type Error = std::fmt::Error;
/// #     fn handle(&self, amount: i64) -> Result<Vec<Event>, std::fmt::Error> {
/// #         Ok(vec![Event::Credited { amount }])
/// #     }
/// #     fn apply(&mut self, _: &Event) {}
/// # }
/// use actum::store::MemoryStore;
/// use actum::Application;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let app = Application::builder(MemoryStore::new()).aggregate::<Account>().start().await?;
/// let committed = app.execute::<Account>("42", 1250).await?;
/// assert_eq!((committed.version.0, committed.position.0), (1, 1));
/// app.shutdown().await;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Application {
    inner: Arc<Running>,
}

impl Application {
    /// Starts building an application on a store: one of Actum's, one of your own, or the result of
    /// [`open`](crate::open).
    pub fn builder(store: impl Into<AnyStore>) -> ApplicationBuilder {
        ApplicationBuilder::new(store.into().into_inner())
    }

    /// Executes a command on the aggregate `A` with this id. After `Ok`, its events are on disk.
    ///
    /// # Errors
    /// [`CommandError`]. Only after `Unknown` the command may have been carried out.
    pub async fn execute<A: Aggregate>(
        &self,
        id: &str,
        command: A::Command,
    ) -> Result<Committed, CommandError<A::Error>> {
        self.execute_with::<A>(id, command, CommandOptions::default()).await
    }

    /// Like [`Application::execute`], with an idempotency key, an expected version or metadata.
    ///
    /// ```no_run
    /// # use actum::{Aggregate, Application, CommandKey, CommandOptions};
    /// # async fn f<Account: Aggregate<Command = i64>>(app: Application)
    /// # -> Result<(), Box<dyn std::error::Error>> where Account::Error: Sync {
    /// // The account is credited once, however often this is called.
    /// let key = CommandKey::new("payment-7", b"credit 42 1250")?;
    /// app.execute_with::<Account>("42", 1250, CommandOptions::keyed(key)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CommandError`]. After `Unknown`, retry with the same key to learn the outcome.
    pub async fn execute_with<A: Aggregate>(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
    ) -> Result<Committed, CommandError<A::Error>> {
        let stream = StreamId::new(A::TYPE, id)?;
        let router = self.router::<A>().ok_or(CommandError::NotRegistered(A::TYPE))?;
        self.inner.check_history().map_err(CommandError::Unavailable)?;
        let key = self.deferrable_key::<A>(&options);
        let answer = router.execute(stream, command, options).await;
        self.answered::<A>(key, answer).await
    }

    fn router<A: Aggregate>(&self) -> Option<&Router<A>> {
        let any: &dyn Any = &**self.inner.routers.get(&TypeId::of::<A>())?;
        any.downcast_ref()
    }

    /// Number of instances of the aggregate `A` in memory.
    pub fn live_aggregates<A: Aggregate>(&self) -> usize {
        self.router::<A>().map_or(0, Router::live)
    }

    /// Checks that the log has this position and the history that this process knows. A read does
    /// not wait for a position beyond the head, because it may never exist: it may be a mistake or
    /// belong to another log.
    ///
    /// # Errors
    /// [`ReadError::NotYet`] without waiting, or the store is not available.
    async fn check_position(
        &self,
        model: &'static str,
        wanted: GlobalPosition,
    ) -> Result<(), ReadError> {
        self.inner.check_history()?;
        let store = &self.inner.store;
        if wanted <= *store.watch_head().borrow() {
            return Ok(());
        }
        // Another process may have appended events just now.
        let reached = store.head().await?;
        match wanted <= reached {
            true => Ok(()),
            false => {
                let waited = Duration::ZERO;
                Err(ReadError::NotYet { model, wanted, reached, waited, paused: None })
            }
        }
    }

    fn read_model<M: ReadModel>(&self) -> Result<&Served<M>, ReadError> {
        let served = self.inner.read_models.get(&TypeId::of::<M>());
        let served = served.and_then(|served| served.downcast_ref());
        served.ok_or(ReadError::NotRegistered(M::NAME))
    }

    /// Loads the current state of the aggregate `A` with this id from the log, with its version and
    /// position. An id without events has the default state at version 0.
    ///
    /// Nothing is authorised here, so check yourself that the reader is allowed to see the state.
    /// The state may be outdated as soon as it is returned. To decide on it, send a command, with
    /// [`ExpectedVersion::Exact`](crate::event::ExpectedVersion::Exact) if the version must not
    /// change.
    ///
    /// # Errors
    /// [`ReadError`]: `NotRegistered`, `InvalidId`, or `Unavailable` if the store is not available
    /// or the events cannot be folded.
    pub async fn load<A: Aggregate + Send>(&self, id: &str) -> Result<Loaded<A>, ReadError> {
        let stream = StreamId::new(A::TYPE, id)?;
        let router = self.router::<A>().ok_or(ReadError::NotRegistered(A::TYPE))?;
        router.load(&stream).await
    }

    /// Like [`Application::history`], up to and including the version `up_to`. So a page stays the
    /// same while events are appended.
    ///
    /// # Errors
    /// Those of [`Application::history`].
    pub async fn history_up_to<A: Aggregate>(
        &self,
        id: &str,
        after: StreamVersion,
        up_to: StreamVersion,
        limit: usize,
    ) -> Result<Vec<EventEnvelope<A::Event>>, ReadError> {
        let left = usize::try_from(up_to.0.saturating_sub(after.0)).unwrap_or(usize::MAX);
        match limit.min(left) {
            0 => StreamId::new(A::TYPE, id).map(|_| Vec::new()).map_err(ReadError::from),
            limit => self.history::<A>(id, after, limit).await,
        }
    }

    /// Returns the events of one aggregate after a version, from the log: at most `limit` events
    /// and `Settings::page_bytes` bytes. Only an empty result is the end.
    ///
    /// # Errors
    /// [`ReadError`]: the id is invalid, the store is not available, or an event cannot be decoded.
    pub async fn history<A: Aggregate>(
        &self,
        id: &str,
        after: StreamVersion,
        limit: usize,
    ) -> Result<Vec<EventEnvelope<A::Event>>, ReadError> {
        let limit = PageLimit::events(limit).bytes(self.inner.settings.page_bytes);
        self.history_page::<A>(id, after, limit).await
    }

    /// Like [`Application::history`], with a limit of bytes of its own.
    pub(crate) async fn history_page<A: Aggregate>(
        &self,
        id: &str,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<EventEnvelope<A::Event>>, ReadError> {
        let stream = StreamId::new(A::TYPE, id)?;
        let panicked = |panic| StoreError::Corrupt {
            place: stream.to_string(),
            reason: format!("the code of its events panicked: {panic}"),
        };
        let codec = guarded(|| EventCodec::<A::Event>::new(A::upcasters())).map_err(panicked)?;
        let events = self.inner.store.read_stream(&stream, after, limit).await?;
        let decode =
            || events.into_iter().map(|recorded| streams::decode(&codec, recorded)).collect();
        guarded(decode).map_err(panicked)?
    }

    /// Returns the last event of one aggregate, or `None` if it has none. The cost does not depend
    /// on the number of events.
    ///
    /// # Errors
    /// Those of [`Application::history`].
    pub async fn last_event<A: Aggregate>(
        &self,
        id: &str,
    ) -> Result<Option<EventEnvelope<A::Event>>, ReadError> {
        let stream = StreamId::new(A::TYPE, id)?;
        let store = &self.inner.store;
        let Confirmation::Stale { actual } =
            store.confirm(&stream, StreamVersion::ZERO, None).await?
        else {
            return Ok(None);
        };
        let before = StreamVersion(actual.0.saturating_sub(1));
        // Another event may have been appended since, so this may return two. The last one is the
        // result.
        let events =
            store.read_stream(&stream, before, PageLimit::events(2).bytes(usize::MAX)).await?;
        let codec = EventCodec::<A::Event>::new(A::upcasters());
        events.into_iter().next_back().map(|event| streams::decode(&codec, event)).transpose()
    }

    /// Returns the aggregate that holds the claim of this kind and value, if any. The holder may
    /// change at any time after the call.
    ///
    /// # Errors
    /// The store is not available.
    pub async fn claim_holder(
        &self,
        kind: &str,
        value: &str,
    ) -> Result<Option<StreamId>, ReadError> {
        Ok(self.inner.store.claim_holder(kind, value).await?)
    }

    /// Returns the log itself. After the first call, decisions that store nothing are confirmed
    /// against the log, because the caller can append to streams of aggregates that are in memory.
    pub fn store(&self) -> &dyn EventStore {
        self.inner.is_handed_out.store(true, Ordering::SeqCst);
        &*self.inner.store
    }

    /// Stops the application: refuses new commands, waits for those in flight, saves the read
    /// models, and closes the store unless other handles of it are in use.
    pub async fn shutdown(&self) -> Stopped {
        let inner = &self.inner;
        crate::failpoints::point("shutdown");
        let (first, then): (Vec<_>, Vec<_>) =
            inner.read_side.iter().partition(|control| control.followers().sends_commands);
        for control in first {
            control.flush_and_stop().await;
        }
        if !inner.admission.close_and_drain(inner.settings.drain_within).await {
            tracing::warn!("some commands were still in flight after drain_within");
        }
        for control in then {
            control.flush_and_stop().await;
        }
        inner.tail.stop();
        let (arbiters, worker) = (Arc::clone(&inner.arbiters), inner.worker.clone());
        // On a blocking thread, because joining threads would block this one.
        let stop = move || {
            if let Some(worker) = worker {
                worker.stop();
            }
            arbiters.stop();
        };
        let _ = tokio::task::spawn_blocking(stop).await;
        // The last step, because the steps above read or write.
        let closed = inner.store.release().await;
        let left_open = closed.err().map(|error| error.to_string());
        if let Some(reason) = &left_open {
            tracing::warn!(
                %reason,
                "the database was not closed cleanly; nothing is lost, and the next start \
                 recovers it"
            );
        }
        Stopped { left_open }
    }
}

/// Result of a shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// Reason why a database file is incomplete without the files beside it, if it is. The message
    /// names those files. Nothing is lost, but a copy of the database needs all of them.
    pub left_open: Option<String>,
}
