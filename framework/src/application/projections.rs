//! The projections of an application: started with it, and queried.

use std::any::{Any, TypeId};
use std::sync::Arc;

use super::{Application, Parts};
use crate::error::{BoxError, ReadError, StartError};
use crate::projection::Projection;
use crate::projector::{self, ProjectorHandle, ProjectorSettings};
use crate::sql::SqlConnection;
use crate::stream::GlobalPosition;

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
        let control = self.inner.read_models.get(&TypeId::of::<P>());
        let handle = control.and_then(|control| {
            let any: &dyn Any = &**control;
            any.downcast_ref::<ProjectorHandle<P>>()
        });
        let handle = handle.ok_or(ReadError::NotRegistered(P::NAME))?;
        handle.query(position, self.inner.settings.read_within, query).await
    }
}

impl Parts {
    pub(super) async fn add_projection<P: Projection>(&mut self) -> Result<(), StartError> {
        self.check_new(P::NAME)?;
        let spawning = Arc::clone(&self.arbiters);
        let handle = projector::start::<P>(projector::Start {
            store: Arc::clone(&self.store),
            tail: self.tail.clone(),
            owner: self.process,
            settings: ProjectorSettings::default(),
            spawn: Arc::new(move |task| spawning.spawn(0, task)),
        });
        let handle = handle.await?;
        self.read_models.insert(TypeId::of::<P>(), Arc::new(handle));
        Ok(())
    }
}
