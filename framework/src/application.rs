//! An application: one log, its aggregates and read models, the actors that run them.
//!
//! [`Application`] has no type parameters and clones for a counter; the types of a call choose the
//! router or read model. What is not registered is a typed error, not a panic.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use crate::actor::{Admission, Arbiters, Deciding, Router};
use crate::aggregate::Aggregate;
use crate::clock::{Clock, SystemClock};
use crate::codec::EventCodec;
use crate::command::{CommandOptions, Committed};
use crate::document::Store;
use crate::error::{CommandError, ReadError, StartError, StoreError};
use crate::event::EventEnvelope;
use crate::event_store::EventStore;
use crate::settings::Settings;
use crate::stream::{StreamId, StreamVersion};

/// A running application. Clones are the same application.
#[derive(Clone)]
pub struct Application {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    arbiters: Arc<Arbiters>,
    admission: Admission,
    settings: Settings,
    /// `Router<A>` by the type `A`.
    routers: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
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
    settings: Settings,
    arbiters: Arc<Arbiters>,
    admission: Admission,
    routers: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
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
        self.inner.routers.get(&TypeId::of::<A>())?.downcast_ref()
    }

    /// How many instances of the aggregate `A` are in memory.
    pub fn live_aggregates<A: Aggregate>(&self) -> usize {
        self.router::<A>().map_or(0, Router::live)
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

    /// Lets no more commands in, waits for those that are, and stops the actors.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        crate::crash::point("shutdown");
        if !inner.admission.close_and_drain(inner.settings.drain_within).await {
            tracing::warn!("commands were still under way when the time to drain was over");
        }
        let arbiters = Arc::clone(&inner.arbiters);
        // Joining threads would block this one.
        let _ = tokio::task::spawn_blocking(move || arbiters.stop()).await;
    }
}

impl ApplicationBuilder {
    /// Runs the aggregate `A`.
    #[must_use]
    pub fn aggregate<A: Aggregate>(mut self) -> Self {
        self.parts.push(Box::new(|parts| Box::pin(async move { parts.add_aggregate::<A>() })));
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
        let arbiters = Arc::new(Arbiters::start(self.settings.arbiters)?);
        let mut parts = Parts {
            store: self.store,
            clock: self.clock,
            admission: Admission::new(self.settings.commands_in_flight),
            settings: self.settings,
            arbiters,
            routers: HashMap::new(),
        };
        for part in self.parts {
            part(&mut parts).await?;
        }
        let Parts { store, arbiters, admission, settings, routers, .. } = parts;
        let inner = Inner { store, arbiters, admission, settings, routers };
        Ok(Application { inner: Arc::new(inner) })
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
}
