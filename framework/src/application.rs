//! An application: one log, its aggregates and read models, the actors that run them.
//!
//! [`Application`] has no type parameters and clones for a counter; the types of a call choose the
//! router or read model. What is not registered is a typed error, not a panic.

mod observer;
mod status;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use self::observer::Observer;
use crate::actor::read_model::{
    self, Progress, ReadModelControl, ReadModelHandle, ReadModelSettings, State,
};
use crate::actor::{Admission, Arbiters, Deciding, Router, RouterControl};
use crate::aggregate::Aggregate;
use crate::clock::{Clock, SystemClock};
use crate::codec::EventCodec;
use crate::command::{CommandOptions, Committed};
use crate::document::Store;
use crate::error::{CommandError, ReadError, StartError, StoreError};
use crate::event::EventEnvelope;
use crate::event_store::EventStore;
use crate::read_model::{Document, ReadModel};
use crate::settings::Settings;
use crate::stream::{GlobalPosition, StreamId, StreamVersion};
use crate::subscription::{Tail, TailSettings};

/// A running application. Clones are the same application.
#[derive(Clone)]
pub struct Application {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Names this process where several share the store.
    process: Uuid,
    observer: Observer,
    arbiters: Arc<Arbiters>,
    admission: Admission,
    settings: Settings,
    tail: Tail,
    /// `Router<A>` by the type `A`.
    routers: HashMap<TypeId, Arc<dyn RouterControl>>,
    /// `ReadModelHandle<M>` by the type `M`.
    read_models: HashMap<TypeId, Arc<dyn ReadModelControl>>,
}

/// Whether the application can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Everything asked for would be answered as of now.
    pub ready: bool,
    /// What is not there yet, one line each.
    pub waiting_for: Vec<String>,
}

/// What an application is made of, before it starts.
pub struct ApplicationBuilder {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    parts: Vec<Part>,
}

type Starting<'a> = Pin<Box<dyn Future<Output = Result<(), StartError>> + Send + 'a>>;
type Part = Box<dyn for<'a> FnOnce(&'a mut Parts) -> Starting<'a> + Send>;

/// What the parts start from and register themselves in.
struct Parts {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Names this process where several share the store.
    process: Uuid,
    settings: Settings,
    arbiters: Arc<Arbiters>,
    admission: Admission,
    tail: Tail,
    routers: HashMap<TypeId, Arc<dyn RouterControl>>,
    read_models: HashMap<TypeId, Arc<dyn ReadModelControl>>,
    /// How many partitions they have, all together.
    partitions: u64,
}

impl Application {
    /// An application on this store.
    pub fn builder(store: impl Store) -> ApplicationBuilder {
        ApplicationBuilder {
            store: Arc::new(store),
            clock: Arc::new(SystemClock),
            settings: Settings::default(),
            parts: Vec::new(),
        }
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
        router.execute(stream, command, options).await
    }

    fn router<A: Aggregate>(&self) -> Option<&Router<A>> {
        let any: &dyn Any = &**self.inner.routers.get(&TypeId::of::<A>())?;
        any.downcast_ref()
    }

    /// How many instances of the aggregate `A` are in memory.
    pub fn live_aggregates<A: Aggregate>(&self) -> usize {
        self.router::<A>().map_or(0, Router::live)
    }

    /// The document of the read model `M` with this key, never from before the application started.
    ///
    /// # Errors
    /// [`ReadError`]; `NotYet` while the read model still catches up, after a bounded wait.
    pub async fn read<M: ReadModel>(&self, key: &str) -> Result<Document<M>, ReadError> {
        self.read_after(key, GlobalPosition::ZERO).await
    }

    /// As [`Application::read`], but not before the read model has applied `position`: with
    /// `Committed::position` it reads your own write.
    ///
    /// # Errors
    /// [`ReadError`]; `NotYet` if the wait of `Settings::read_within` ends first.
    pub async fn read_after<M: ReadModel>(
        &self,
        key: &str,
        position: GlobalPosition,
    ) -> Result<Document<M>, ReadError> {
        let control = self.inner.read_models.get(&TypeId::of::<M>());
        let handle = control.and_then(|control| {
            let any: &dyn Any = &**control;
            any.downcast_ref::<ReadModelHandle<M>>()
        });
        let handle = handle.ok_or(ReadError::NotRegistered(M::NAME))?;
        handle.read(key, position, self.inner.settings.read_within).await
    }

    /// Whether every read model has caught up with the head the log had at start.
    pub fn readiness(&self) -> Readiness {
        let mut waiting_for = Vec::new();
        if self.inner.admission.is_closed() {
            waiting_for.push("nothing: the application is stopping".to_owned());
        }
        for control in self.inner.read_models.values() {
            let partitions = control.partitions();
            let several = partitions.len() > 1;
            for (number, progress) in partitions.into_iter().enumerate() {
                let Progress { applied, head_at_start, state, .. } = progress;
                let name = match several {
                    true => format!("{}/{number}", control.name()),
                    false => control.name().to_owned(),
                };
                match state {
                    State::Live => {}
                    State::CatchingUp => waiting_for
                        .push(format!("{name}, at position {applied} of {head_at_start}")),
                    State::Halted { position, reason } => waiting_for
                        .push(format!("{name}, which halted at position {position}: {reason}")),
                    State::Stopped => waiting_for.push(format!("{name}, which has stopped")),
                }
            }
        }
        if let Some(trouble) = self.inner.store.trouble() {
            waiting_for.push(format!("the store, which cannot be reached: {trouble}"));
        }
        if let Some(trouble) = self.inner.tail.status().trouble {
            waiting_for.push(format!("the log, which cannot be read: {trouble}"));
        }
        waiting_for.sort_unstable();
        Readiness { ready: waiting_for.is_empty(), waiting_for }
    }

    /// The events of one aggregate after a version, from the log, at most `limit`.
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
        let codec = EventCodec::<A::Event>::new(A::upcasters());
        let events = self.inner.store.read_stream(&stream, after, limit).await?;
        let decoded = events.into_iter().map(|recorded| {
            let event = codec.decode(&recorded).map_err(|error| StoreError::Corrupt {
                place: format!("{stream} version {}", recorded.version),
                reason: error.to_string(),
            })?;
            Ok(EventEnvelope { event, recorded: Arc::new(recorded) })
        });
        decoded.collect()
    }

    /// The log itself.
    pub fn store(&self) -> &dyn EventStore {
        &*self.inner.store
    }

    /// Lets no more commands in, waits for those that are, saves the read models, and stops.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        crate::crash::point("shutdown");
        if !inner.admission.close_and_drain(inner.settings.drain_within).await {
            tracing::warn!("commands were still under way when the time to drain was over");
        }
        for control in inner.read_models.values() {
            control.flush_and_stop().await;
        }
        inner.tail.stop();
        let arbiters = Arc::clone(&inner.arbiters);
        // Joining threads would block this one.
        let _ = tokio::task::spawn_blocking(move || arbiters.stop()).await;
    }
}

impl Drop for Inner {
    /// An application that nobody holds any more stops, also without `shutdown`: what was not
    /// answered is then unknown to its caller, and read models resume from their checkpoints.
    fn drop(&mut self) {
        self.tail.stop();
        self.arbiters.halt();
    }
}

impl ApplicationBuilder {
    /// Runs the aggregate `A`.
    #[must_use]
    pub fn aggregate<A: Aggregate>(mut self) -> Self {
        self.parts.push(Box::new(|parts| Box::pin(async move { parts.add_aggregate::<A>() })));
        self
    }

    /// Runs the read model `M`, from its checkpoint.
    #[must_use]
    pub fn read_model<M: ReadModel>(mut self) -> Self {
        self.parts.push(Box::new(|parts| Box::pin(parts.add_read_model::<M>())));
        self
    }

    /// Other limits than the default ones.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Another clock and source of ids.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Starts everything.
    ///
    /// # Errors
    /// [`StartError`]: something is registered twice, a thread did not start, or a checkpoint does
    /// not belong to this log.
    pub async fn start(self) -> Result<Application, StartError> {
        crate::metrics::describe();
        let arbiters = Arc::new(Arbiters::start(self.settings.arbiters)?);
        let (head, identity) = (self.store.head().await?, self.store.identity());
        for (setting, value) in self.store.settings() {
            tracing::info!(setting, value, "the store's setting");
        }
        tracing::info!(log_id = %identity.log_id, epoch = identity.epoch, %head, "the log");
        let tailing = Arc::clone(&arbiters);
        let spawn = move |task| tailing.spawn(0, task);
        let tail = Tail::start(Arc::clone(&self.store), head, TailSettings::default(), spawn);
        let mut parts = Parts {
            store: self.store,
            process: self.clock.new_id(),
            clock: self.clock,
            admission: Admission::new(self.settings.commands_in_flight),
            settings: self.settings,
            arbiters,
            tail,
            routers: HashMap::new(),
            read_models: HashMap::new(),
            partitions: 0,
        };
        for part in self.parts {
            part(&mut parts).await?;
        }
        let observer = Observer::new(parts.read_models.values());
        let Parts { store, clock, process, arbiters, admission, .. } = parts;
        let Parts { settings, tail, routers, read_models, .. } = parts;
        let inner = Inner {
            store,
            clock,
            process,
            observer,
            arbiters,
            admission,
            settings,
            tail,
            routers,
            read_models,
        };
        let inner = Arc::new(inner);
        observer::observe(&inner);
        Ok(Application { inner })
    }
}

impl Parts {
    fn add_aggregate<A: Aggregate>(&mut self) -> Result<(), StartError> {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let deciding = Arc::new(Deciding::<A>::new(store, clock, self.settings.clone()));
        let router =
            Arc::new(Router::new(deciding, Arc::clone(&self.arbiters), self.admission.clone()));
        let (passivating, idle_after) = (Arc::downgrade(&router), self.settings.idle_after);
        self.arbiters.spawn(0, async move {
            loop {
                tokio::time::sleep(idle_after / 4).await;
                let Some(router) = passivating.upgrade() else { return };
                if let Some(before) = Instant::now().checked_sub(idle_after) {
                    router.passivate(before);
                }
            }
        });
        match self.routers.insert(TypeId::of::<A>(), router) {
            None => Ok(()),
            Some(_) => Err(StartError::Twice(A::TYPE)),
        }
    }

    async fn add_read_model<M: ReadModel>(&mut self) -> Result<(), StartError> {
        if self.read_models.contains_key(&TypeId::of::<M>()) {
            return Err(StartError::Twice(M::NAME));
        }
        // Each partition of each on the next arbiter.
        let first = self.partitions;
        self.partitions += u64::from(M::PARTITIONS);
        let (store, settings) = (Arc::clone(&self.store), ReadModelSettings::default());
        let (arbiters, tail) = (&self.arbiters, &self.tail);
        let handle =
            read_model::start::<M>(arbiters, first, store, tail, self.process, settings).await?;
        self.read_models.insert(TypeId::of::<M>(), Arc::new(handle));
        Ok(())
    }
}
