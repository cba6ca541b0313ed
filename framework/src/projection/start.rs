//! Starting a projection: its place and tables, and a driver for each partition.
//!
//! Each partition that this process owns has a thread, so neither its code nor its database slows
//! anything else; a standby has none. Queries read the database itself, in every process.

use std::sync::Arc;

use super::Projection;
use super::follower::ProjectionFollower;
use super::handle::ProjectorHandle;
use crate::catch_panic::guarded_async;
use crate::error::{StartError, StoreError};
use crate::partition::{Followed, Launch, Launched, LeaseRenewer, Pacing, register_version};
use crate::store::contract::{ProjectionDatabase, check_projection_name};
use crate::subscription::Tail;
use crate::threads::Task;

/// The parts of the application that a projection runs on.
pub(crate) struct Start {
    pub(crate) renewer: LeaseRenewer,
    pub(crate) tail: Tail,
    pub(crate) pacing: Pacing,
    /// Runs what must not wait for the projection's own code.
    pub(crate) spawn: Arc<dyn Fn(Task) + Send + Sync>,
}

/// Starts the projection `P`: makes its place if it is new, then a task for each partition.
///
/// # Errors
/// Its place cannot be opened or made, or a checkpoint does not belong to this log.
pub(crate) async fn start<P: Projection>(start: Start) -> Result<ProjectorHandle, StartError> {
    let Start { renewer, tail, pacing, spawn } = start;
    let store = Arc::clone(renewer.store());
    check_projection_name(P::NAME)?;
    let model = format!("{}@{}", P::NAME, P::VERSION);
    register_version(&*store, P::NAME, P::VERSION, P::PARTITIONS).await?;
    let database = store.open_projection(P::NAME, P::VERSION).await?;
    make::<P>(&*database, &model).await?;
    // After the tables exist and before the checkpoints are read: queries wait for this head, so
    // none returns rows from before the start.
    let head = store.head().await?;
    let filter = P::sources().routes.filter();
    let (name, version, partitions) = (P::NAME, P::VERSION, P::PARTITIONS);
    let followed = Followed { name, version, partitions, filter, head };
    let launch = Launch { renewer: &renewer, tail: &tail, pacing: &pacing };
    let (followers, launched) = launch.prepare(followed, &*database).await?;
    for Launched { driver, .. } in launched {
        let (store, database) = (Arc::clone(&store), Arc::clone(&database));
        let (progress, running) = (Arc::clone(&driver.progress), driver.progress.running());
        let follower = ProjectionFollower::<P>::new(store, database, progress, pacing.clone());
        spawn(Box::pin(async move {
            driver.run_on_a_thread(follower).await;
            drop(running);
        }));
    }
    Ok(ProjectorHandle::new(followers, database, pacing.look_every, P::compared()))
}

/// Makes the place and the user's tables in it, unless they are made.
pub(super) async fn make<P: Projection>(
    database: &dyn ProjectionDatabase,
    model: &str,
) -> Result<(), StartError> {
    let Some(mut transaction) = database.begin_making().await? else { return Ok(()) };
    let mut connection = transaction.connection();
    let created = guarded_async(P::create(&mut connection)).await;
    let created = match created {
        Ok(created) => created.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("panicked: {panic}")),
    };
    let refuse = |reason: String| StartError::Open {
        place: format!("the tables of the projection {model}"),
        reason,
    };
    created.map_err(refuse)?;
    // A statement of the user may have failed without an error from `create`. On PostgreSQL the
    // commit would then roll back silently.
    transaction.check().await.map_err(refuse)?;
    match transaction.commit(None).await {
        Ok(()) => Ok(()),
        // Made or not: the next start finds out.
        Err(StoreError::Unknown(reason)) => Err(StoreError::Unavailable(reason).into()),
        Err(error) => Err(error.into()),
    }
}
