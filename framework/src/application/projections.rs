//! The projections of an application: started with it, and queried.

use std::any::TypeId;
use std::sync::Arc;

use super::Application;
use super::builder::ApplicationBuilder;
use super::running::Running;
use crate::actor::read_model::ReadModelControl;
use crate::error::{BoxError, ReadError, StartError};
use crate::projection::Projection;
use crate::projector::{self, ProjectorHandle, ProjectorSettings};
use crate::sql::SqlConnection;
use crate::stream::GlobalPosition;

impl ApplicationBuilder {
    /// Runs the projection `P`, from its checkpoint; its place and tables are made if they are new.
    #[must_use]
    pub fn projection<P: Projection>(self) -> Self {
        self.part(Box::new(|parts| Box::pin(parts.add_projection::<P>())))
    }
}

impl Application {
    /// Runs a query on the rows of the projection `P`, all of one moment: of `position` or later, and
    /// never from before the application started. The query is given the connection, which cannot
    /// write, and the position that the rows reflect. Works in every process.
    ///
    /// ```ignore
    /// let sum = app.query::<Statement, _>(committed.position, async |db, _| {
    ///     let rows = db.rows("SELECT count(*) FROM bookings", &[]).await?;
    ///     Ok(rows[0].get::<i64>(0)?)
    /// });
    /// ```
    ///
    /// # Errors
    /// [`ReadError`]; `NotYet` if the wait of `Settings::read_within` ends first.
    pub async fn query<P: Projection, T>(
        &self,
        position: GlobalPosition,
        query: impl AsyncFnOnce(&mut SqlConnection<'_>, GlobalPosition) -> Result<T, BoxError>,
    ) -> Result<T, ReadError> {
        let handle = self.inner.read_models.get(&TypeId::of::<P>());
        let handle = handle.and_then(|any| any.downcast_ref::<Arc<ProjectorHandle<P>>>());
        let handle = handle.ok_or(ReadError::NotRegistered(P::NAME))?;
        handle.query(position, self.inner.settings.read_within, query).await
    }
}

impl Running {
    async fn add_projection<P: Projection>(&mut self) -> Result<(), StartError> {
        if self.read_side.iter().any(|known| known.name() == P::NAME) {
            return Err(StartError::Twice(P::NAME));
        }
        let spawning = Arc::clone(&self.arbiters);
        let handle = projector::start::<P>(projector::Start {
            store: Arc::clone(&self.store),
            tail: self.tail.clone(),
            owner: self.process,
            settings: ProjectorSettings::default(),
            spawn: Arc::new(move |task| spawning.spawn(0, task)),
        });
        let handle = Arc::new(handle.await?);
        let control: Arc<dyn ReadModelControl> = Arc::clone(&handle) as Arc<_>;
        self.read_side.push(control);
        self.read_models.insert(TypeId::of::<P>(), Arc::new(handle));
        Ok(())
    }
}
