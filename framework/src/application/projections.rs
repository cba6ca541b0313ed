//! Projections of an application: registration and queries.

use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Application;
use super::builder::ApplicationBuilder;
use super::running::{Running, check_successor};
use crate::error::{BoxError, ReadError, StartError};
use crate::event::GlobalPosition;
use crate::partition::{FollowerControl, Pacing};
use crate::projection::{Projection, ProjectorHandle, RowVersions, ServedProjection, start};
use crate::store::contract::sql::SqlConnection;

impl ApplicationBuilder {
    /// Registers the projection `P`. It resumes from its checkpoint; its place and tables are
    /// created if they are new.
    #[must_use]
    pub fn projection<P: Projection>(self) -> Self {
        self.part(Box::new(|parts| Box::pin(parts.add_projection::<P>())))
    }

    /// Registers the projection `P`, and beside it the version before, `Old`, like
    /// [`ApplicationBuilder::read_model_replacing`]. While `Old` is the active version, queries of
    /// `P` run on its tables, so they must work on both. Before the activation the rows of both are
    /// counted.
    #[must_use]
    pub fn projection_replacing<P: Projection, Old: Projection>(self) -> Self {
        self.part(Box::new(|parts| Box::pin(parts.add_replacing_projection::<P, Old>())))
    }
}

impl Application {
    /// Creates a query on the rows of the projection `P`. It runs in one snapshot, in any process.
    ///
    /// ```no_run
    /// # use actum::{Application, Projection, ReadError};
    /// # async fn f<Bookings: Projection>(app: Application) -> Result<(), ReadError> {
    /// let count: i64 = app
    ///     .query::<Bookings>()
    ///     .run(async |db, _position| {
    ///         let rows = db.rows("SELECT count(*) FROM bookings", &[]).await?;
    ///         Ok(rows[0].get(0)?)
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn query<P: Projection>(&self) -> Query<'_, P> {
        let within = self.inner.settings.read_within;
        Query { app: self, after: GlobalPosition::ZERO, within, projection: PhantomData }
    }

    fn served<P: Projection>(&self) -> Result<&ServedProjection, ReadError> {
        let served = self.inner.read_models.get(&TypeId::of::<P>());
        let served = served.and_then(|any| any.downcast_ref::<ServedProjection>());
        served.ok_or(ReadError::NotRegistered(P::NAME))
    }
}

/// A query on the rows of the projection `P`. Run it with [`Query::run`] or [`Query::find`].
///
/// ```no_run
/// # use actum::{Application, GlobalPosition, Projection, ReadError};
/// # async fn f<Bookings: Projection>(
/// #     app: &Application, account: &str, written: GlobalPosition,
/// # ) -> Result<(), ReadError> {
/// // `written` is the position of a command: the rows then include it.
/// let (amount, position) = app
///     .query::<Bookings>()
///     .after(written)
///     .find(account, async |db, _position| {
///         let last = "SELECT amount FROM bookings WHERE account = $1 ORDER BY number DESC LIMIT 1";
///         let rows = db.rows(last, &[account.into()]).await?;
///         Ok(rows.first().map(|row| row.get::<i64>(0)).transpose()?)
///     })
///     .await?;
/// println!("{amount}, as of {position}");
/// # Ok(()) }
/// ```
#[must_use = "a query does nothing until it is run"]
pub struct Query<'a, P> {
    app: &'a Application,
    after: GlobalPosition,
    within: Duration,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> Query<'_, P> {
    /// Waits until the rows reflect the log up to this position.
    pub fn after(self, position: GlobalPosition) -> Self {
        Self { after: position, ..self }
    }

    /// Sets the timeout of the wait. The default and maximum is `Settings::read_within`.
    pub fn within(self, timeout: Duration) -> Self {
        Self { within: self.within.min(timeout), ..self }
    }

    /// Runs the query on rows of one moment, never from before the start of the application.
    /// `query` gets a read-only connection and the position that the rows reflect.
    ///
    /// # Errors
    /// [`ReadError`]; `NotYet` if the wait ends first, and without a wait if the log does not have
    /// the position.
    pub async fn run<T>(
        self,
        query: impl AsyncFnOnce(&mut SqlConnection<'_>, GlobalPosition) -> Result<T, BoxError>,
    ) -> Result<T, ReadError> {
        let served = self.app.served::<P>()?;
        self.app.check_position(P::NAME, self.after).await?;
        served.query(self.after, self.within, query).await
    }

    /// Runs a query for something with a key. `None` from the query means that the rows do not have
    /// it. Rows that are behind the log may not have it yet, so the query then runs again on rows
    /// that reflect the log's head at the time of the call. Returns the result and the position
    /// that it reflects.
    ///
    /// # Errors
    /// [`ReadError`]; `NotFound` if the rows at that head do not have it, `NotYet` if the wait ends
    /// before the rows reflect it.
    pub async fn find<T>(
        self,
        key: &str,
        query: impl AsyncFn(&mut SqlConnection<'_>, GlobalPosition) -> Result<Option<T>, BoxError>,
    ) -> Result<(T, GlobalPosition), ReadError> {
        let served = self.app.served::<P>()?;
        self.app.check_position(P::NAME, self.after).await?;
        let arrived = Instant::now();
        let look =
            async |db: &mut SqlConnection<'_>, reflects| Ok((query(db, reflects).await?, reflects));
        let (mut found, mut reflects) = served.query(self.after, self.within, look).await?;
        if found.is_none() {
            let head = self.app.inner.store.head().await?;
            if reflects < head {
                let left = self.within.saturating_sub(arrived.elapsed());
                (found, reflects) = served.query(head, left, look).await?;
            }
        }
        let not_found = || ReadError::NotFound { model: P::NAME, key: key.to_owned(), reflects };
        Ok((found.ok_or_else(not_found)?, reflects))
    }
}

impl Running {
    async fn add_projection<P: Projection>(&mut self) -> Result<(), StartError> {
        let own = self.start_projection::<P>().await?;
        let versions = RowVersions { own: Arc::clone(&own), old: None };
        self.add_switch((P::NAME, P::VERSION), versions, None).await?;
        let served = ServedProjection::alone(own);
        self.read_models.insert(TypeId::of::<P>(), Arc::new(served));
        Ok(())
    }

    async fn add_replacing_projection<P: Projection, Old: Projection>(
        &mut self,
    ) -> Result<(), StartError> {
        check_successor((P::NAME, P::VERSION), (Old::NAME, Old::VERSION))?;
        // The older version first: on a new database the first one registered becomes active.
        let old = self.start_projection::<Old>().await?;
        let own = self.start_projection::<P>().await?;
        let versions = RowVersions { own: Arc::clone(&own), old: Some(Arc::clone(&old)) };
        let beside: Arc<dyn FollowerControl> = Arc::clone(&old) as Arc<_>;
        let beside = Some((Old::VERSION, beside));
        let switch = self.add_switch((P::NAME, P::VERSION), versions, beside).await?;
        let served = ServedProjection::beside(own, old, switch.serving());
        self.read_models.insert(TypeId::of::<P>(), Arc::new(served));
        Ok(())
    }

    async fn start_projection<P: Projection>(
        &mut self,
    ) -> Result<Arc<ProjectorHandle>, StartError> {
        self.check_new(P::NAME, P::VERSION)?;
        let beginning = self.check_begun((P::NAME, P::VERSION), P::sources().routes).await?;
        let spawning = Arc::clone(&self.arbiters);
        let handle = start::start::<P>(start::Start {
            renewer: self.renewer.clone(),
            tail: self.tail.clone(),
            pacing: Pacing::default(),
            spawn: Arc::new(move |task| spawning.spawn(0, task)),
        });
        let handle = Arc::new(handle.await?);
        self.begun(beginning).await?;
        self.read_side.push(Arc::clone(&handle) as Arc<_>);
        Ok(handle)
    }
}
