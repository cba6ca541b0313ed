//! An application: one log, its aggregates and read models, the actors that run them.
//!
//! [`Application`] has no type parameters and clones for a counter; the types of a call choose the
//! router or read model. What is not registered is a typed error, not a panic.

mod builder;
#[cfg(feature = "webhooks")]
mod callbacks;
mod later;
mod live;
mod observer;
mod operations;
mod outcome;
mod parked;
mod program;
mod projections;
mod pruning;
mod read;
mod readiness;
mod running;
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
use crate::aggregate::{Aggregate, Loaded, Router};
use crate::catch_panic::guarded;
use crate::command::{CommandOptions, Committed};
use crate::error::{CommandError, ReadError, StoreError};
use crate::event::codec::EventCodec;
use crate::event::{EventEnvelope, GlobalPosition, StreamId, StreamVersion};
use crate::live as streams;
use crate::read_model::{ReadModel, Served};
use crate::store::contract::{AnyStore, Confirmation, EventStore, PageLimit};

/// A running application. Clones are the same application.
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
/// use actum::{Application, MemoryStore};
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
    /// An application on this store: one of Actum's, one of your own, or what
    /// [`open`](crate::open) returns.
    pub fn builder(store: impl Into<AnyStore>) -> ApplicationBuilder {
        ApplicationBuilder::new(store.into().into_inner())
    }

    /// Has the aggregate `A` with this id carry out a command: once it is answered `Ok`, its
    /// events are on disk.
    ///
    /// # Errors
    /// [`CommandError`]; only with `Unknown` is it open whether the command was carried out.
    pub async fn execute<A: Aggregate>(
        &self,
        id: &str,
        command: A::Command,
    ) -> Result<Committed, CommandError<A::Error>> {
        self.execute_with::<A>(id, command, CommandOptions::default()).await
    }

    /// As [`Application::execute`], with the client's key, an expected version or metadata.
    ///
    /// ```no_run
    /// # use actum::{Aggregate, Application, CommandKey, CommandOptions};
    /// # async fn f<Account: Aggregate<Command = i64>>(app: Application)
    /// # -> Result<(), Box<dyn std::error::Error>> where Account::Error: Sync {
    /// // However often it is sent, the account is credited once.
    /// let key = CommandKey::new("payment-7", b"credit 42 1250")?;
    /// app.execute_with::<Account>("42", 1250, CommandOptions::keyed(key)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CommandError`]; after `Unknown`, send the same key again to learn the outcome.
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

    /// How many instances of the aggregate `A` are in memory.
    pub fn live_aggregates<A: Aggregate>(&self) -> usize {
        self.router::<A>().map_or(0, Router::live)
    }

    /// Checks that the log is the one this process knows and has this position. Nothing waits for a
    /// position that it does not have: it may never come, as after a mistake or from another log.
    ///
    /// # Errors
    /// [`ReadError::NotYet`] at once, or the store did not answer.
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
        // Another process may have written it a moment ago.
        let reached = store.head().await?;
        match wanted <= reached {
            true => Ok(()),
            false => Err(ReadError::NotYet { model, wanted, reached, waited: Duration::ZERO }),
        }
    }

    fn read_model<M: ReadModel>(&self) -> Result<&Served<M>, ReadError> {
        let served = self.inner.read_models.get(&TypeId::of::<M>());
        let served = served.and_then(|served| served.downcast_ref());
        served.ok_or(ReadError::NotRegistered(M::NAME))
    }

    /// The state of the aggregate `A` with this id, folded from the log now, with its version and
    /// position. An id without events has the default state at version 0.
    ///
    /// For reading: authorise the reader yourself. A decision on this state may be outdated; send a
    /// command, with [`ExpectedVersion::Exact`](crate::event::ExpectedVersion::Exact) if it must be this one.
    ///
    /// # Errors
    /// [`ReadError`]: `NotRegistered`, `InvalidId`, `Unavailable` if the store does not answer or the
    /// events cannot be folded.
    pub async fn load<A: Aggregate + Send>(&self, id: &str) -> Result<Loaded<A>, ReadError> {
        let stream = StreamId::new(A::TYPE, id)?;
        let router = self.router::<A>().ok_or(ReadError::NotRegistered(A::TYPE))?;
        router.load(&stream).await
    }

    /// As [`Application::history`], up to and including the version `up_to`: a page that does not grow
    /// while it is read.
    ///
    /// # Errors
    /// As [`Application::history`].
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

    /// The events of one aggregate after a version, from the log: at most `limit`, and at most
    /// `Settings::page_bytes`. Only an empty answer is the end.
    ///
    /// # Errors
    /// The id is no id, the store does not answer, or an event cannot be decoded.
    pub async fn history<A: Aggregate>(
        &self,
        id: &str,
        after: StreamVersion,
        limit: usize,
    ) -> Result<Vec<EventEnvelope<A::Event>>, ReadError> {
        let stream = StreamId::new(A::TYPE, id)?;
        let limit = PageLimit::events(limit).bytes(self.inner.settings.page_bytes);
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

    /// The last event of one aggregate, from the log; `None` if it has none. The cost does not grow
    /// with the number of events.
    ///
    /// # Errors
    /// As [`Application::history`].
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
        // An event may have been appended since, so this may return two; the last one counts.
        let events =
            store.read_stream(&stream, before, PageLimit::events(2).bytes(usize::MAX)).await?;
        let codec = EventCodec::<A::Event>::new(A::upcasters());
        events.into_iter().next_back().map(|event| streams::decode(&codec, event)).transpose()
    }

    /// The aggregate that holds the claim of this kind and value, if one does: as the log says it
    /// now, so by the time you act on it, it may be another.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn claim_holder(
        &self,
        kind: &str,
        value: &str,
    ) -> Result<Option<StreamId>, ReadError> {
        Ok(self.inner.store.claim_holder(kind, value).await?)
    }

    /// The log itself. From the first call on, decisions that store nothing are confirmed against the
    /// log, because this reference can append to the streams of aggregates that are in memory.
    pub fn store(&self) -> &dyn EventStore {
        self.inner.is_handed_out.store(true, Ordering::SeqCst);
        &*self.inner.store
    }

    /// Lets no more commands in, waits for those that are, saves the read models, stops, and closes
    /// the store unless other handles of it are in use.
    pub async fn shutdown(&self) -> Stopped {
        let inner = &self.inner;
        crate::failpoints::point("shutdown");
        let (first, then): (Vec<_>, Vec<_>) =
            inner.read_side.iter().partition(|control| control.sends_commands());
        for control in first {
            control.flush_and_stop().await;
        }
        if !inner.admission.close_and_drain(inner.settings.drain_within).await {
            tracing::warn!("commands were still under way when the time to drain was over");
        }
        for control in then {
            control.flush_and_stop().await;
        }
        inner.tail.stop();
        let (arbiters, worker) = (Arc::clone(&inner.arbiters), inner.worker.clone());
        // Joining threads would block this one.
        let stop = move || {
            if let Some(worker) = worker {
                worker.stop();
            }
            arbiters.stop();
        };
        let _ = tokio::task::spawn_blocking(stop).await;
        // The last step, because everything above reads or writes.
        let closed = inner.store.release().await;
        let left_open = closed.err().map(|error| error.to_string());
        if let Some(reason) = &left_open {
            tracing::warn!(%reason, "the database could not be closed in order; nothing is lost, and the next start recovers it");
        }
        Stopped { left_open }
    }
}

/// The end of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// The reason why a database in a file is not complete without the files beside it, if it is
    /// not: names the files. Nothing is lost; a copy needs all of them.
    pub left_open: Option<String>,
}
