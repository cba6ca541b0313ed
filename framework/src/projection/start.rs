//! Starting a projection: its place and tables, and a driver for each partition.
//!
//! Each partition that this process owns has a thread, so neither its code nor its database slows
//! anything else; a standby has none. Queries read the database itself, in every process.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::info;

use super::Projection;
use super::follower::ProjectionFollower;
use super::handle::ProjectorHandle;
use crate::catch_panic::guarded_async;
use crate::error::{StartError, StoreError};
use crate::partition::{
    Driver, Followers, LeaseRenewer, Pacing, PartitionProgress, register_version,
};
use crate::store::contract::{PartitionId, ProjectionDatabase, check_projection_name};
use crate::subscription::{Tail, verify};
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
    let (stop, stopping) = watch::channel(false);
    let (membership, assignments) = renewer.join(&model, P::PARTITIONS).await?;
    let mut progress = Vec::new();
    for (number, assignment) in (0..).zip(assignments) {
        let id = PartitionId::new(&*model, number);
        let checkpoint = database.load_checkpoint(&id).await?;
        let position = verify(&*store, &id.to_string(), checkpoint).await?;
        info!(%head, "projection {id} resumes from position {position}");
        let partition = PartitionProgress::new(id.clone(), position, head);
        let driver = Driver {
            id,
            store: Arc::clone(&store),
            tail: tail.clone(),
            renewer: renewer.clone(),
            pacing: pacing.clone(),
            progress: Arc::clone(&partition),
            assignment,
            stopping: stopping.clone(),
        };
        let (database, shared) = (Arc::clone(&database), Arc::clone(&partition));
        let follower =
            ProjectionFollower::<P>::new(Arc::clone(&store), database, shared, pacing.clone());
        progress.push((partition, driver, follower));
    }
    // Not before every checkpoint is verified: a start that is refused must leave nothing running.
    let progress = progress.into_iter().map(|(partition, driver, follower)| {
        let running = partition.running();
        spawn(Box::pin(async move {
            driver.run_on_a_thread(follower).await;
            drop(running);
        }));
        partition
    });
    let followers = Followers {
        name: P::NAME,
        version: P::VERSION,
        filter: P::sources().routes.filter(),
        progress: progress.collect(),
        stop,
        membership,
        stop_within: pacing.stop_within,
        sends_commands: false,
    };
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
