//! Builder of an application, and its start.

use std::pin::Pin;
use std::sync::Arc;

use super::observer::Observer;
use super::running::Running;
use super::{Application, observer, program, pruning};
use crate::aggregate::Aggregate;
use crate::clock::{Clamped, Clock, SystemClock};
use crate::error::StartError;
use crate::read_model::ReadModel;
use crate::settings::Settings;
use crate::store::contract::Store;

/// Configuration of an application that has not been started yet.
///
/// ```
/// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
/// # use tour::*;
/// use std::time::Duration;
/// use actum::{Application, Settings};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), actum::BoxError> {
/// let app = Application::builder(actum::open("memory:").await?)
///     .name("bank") // the log refuses another program
///     .aggregate::<Account>()
///     .read_model::<Balance>()
///     .settings(Settings { read_within: Duration::from_secs(2), ..Settings::default() })
///     .start()
///     .await?;
/// # app.shutdown().await;
/// # Ok(()) }
/// ```
pub struct ApplicationBuilder {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    name: String,
    pub(super) parts: Vec<Part>,
    /// Parts that need all aggregates.
    pub(super) last_parts: Vec<Part>,
}

pub(super) type Starting<'a> = Pin<Box<dyn Future<Output = Result<(), StartError>> + Send + 'a>>;
pub(super) type Part = Box<dyn for<'a> FnOnce(&'a mut Running) -> Starting<'a> + Send>;

impl ApplicationBuilder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let (clock, settings) = (Arc::new(SystemClock), Settings::default());
        Self {
            store,
            clock,
            settings,
            name: program::default_name(),
            parts: Vec::new(),
            last_parts: Vec::new(),
        }
    }

    /// Sets the name of the program. The log stores the name at the first start and refuses an
    /// application of another name, because two programs must not append to one log. Default: the
    /// name of the executable, without extension.
    ///
    /// Set a fixed name if several executables use one log, or if the executable may be renamed. To
    /// rename the program of a log, stop all its processes and update the row: `UPDATE log SET
    /// program = 'shop'` (on PostgreSQL `UPDATE actum.log …`).
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Registers the aggregate `A`.
    #[must_use]
    pub fn aggregate<A: Aggregate>(mut self) -> Self {
        self.parts.push(Box::new(|parts| Box::pin(async move { parts.add_aggregate::<A>() })));
        self
    }

    /// Registers the read model `M`. It resumes from its checkpoint.
    #[must_use]
    pub fn read_model<M: ReadModel>(mut self) -> Self {
        self.parts.push(Box::new(|parts| Box::pin(parts.add_read_model::<M>())));
        self
    }

    /// Registers the read model `M`, and beside it the version before, `Old`. While `Old` is the
    /// active version, reads of `M` are converted from its documents. When `M` has caught up, the
    /// two are compared, the result is logged, and `M` becomes active. `Old` is kept up to date
    /// until it is dropped or no longer registered, so that
    /// [`Operations::serve_version`](super::Operations::serve_version) can switch back to it.
    #[must_use]
    pub fn read_model_replacing<M: ReadModel + From<Old>, Old: ReadModel>(mut self) -> Self {
        self.parts.push(Box::new(|parts| Box::pin(parts.add_replacing::<M, Old>())));
        self
    }

    pub(super) fn part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Sets limits and timeouts. [`ApplicationBuilder::start`] refuses values out of bounds.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the source of time and ids, for example a manual clock in tests. The time of events is
    /// recorded by the store, which has a clock of its own: `MemoryStore::with_clock`,
    /// `SqliteOptions::clock`, `PostgresOptions::clock`.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Starts the application.
    ///
    /// # Errors
    /// [`StartError`]: the log belongs to another program, a setting is out of bounds, or a name is
    /// registered twice or cannot be stored. Also if a thread did not start or a checkpoint does
    /// not belong to this log.
    pub async fn start(self) -> Result<Application, StartError> {
        crate::metrics::describe();
        self.settings.check()?;
        program::claim(&*self.store, &self.name).await?;
        let clock = Arc::new(Clamped(self.clock));
        let mut running = Running::start(self.store, clock, self.settings).await?;
        for part in self.parts.into_iter().chain(self.last_parts) {
            part(&mut running).await?;
        }
        running.start_later().await?;
        running.observer = Observer::new(running.read_side.iter());
        let inner = Arc::new(running);
        observer::observe(&inner);
        pruning::prune(&inner);
        Ok(Application { inner })
    }
}
