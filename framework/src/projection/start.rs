//! The runtime of projections: it follows the log and hands batches to the user's own SQL.
//!
//! Each partition that this process owns has a thread of its own, so whatever its code or its
//! database does slows nobody else; a standby has none. The owner of a partition takes in what comes: one transaction for each
//! page, with the rows, the checkpoint and what was parked. [`start`] gives a [`ProjectorHandle`],
//! which answers queries from the database itself, so in every process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::info;
use uuid::Uuid;

use super::Projection;
use super::handle::ProjectorHandle;
use super::partition::Partition;
use crate::catch_panic::guarded_async;
use crate::error::{StartError, StoreError};
use crate::partition::parking::ParkingSettings;
use crate::partition::{
    Assignment, AssignmentSettings, Ownership, Patience, Standings, Task, register_version,
};
use crate::store::contract::{PartitionId, ProjectionDatabase, Store, check_projection_name};
use crate::subscription::{Tail, verify};

/// The limits and the patience of one projection.
#[derive(Debug, Clone)]
pub(crate) struct ProjectorSettings {
    /// How long a lease lasts without being renewed; it is renewed every third of that.
    pub(crate) lease_for: Duration,
    /// How often the process looks what it should own.
    pub(crate) acquire_every: Duration,
    /// How long events gather after a commit at the tail of the log, unless somebody here waits for
    /// them: a commit costs about as much for one event as for a hundred.
    pub(crate) gather_for: Duration,
    /// How often a query looks for the position it waits for while another process is the owner.
    pub(crate) look_every: Duration,
    /// How long a checkpoint may stay unsaved when there was nothing to take in.
    pub(crate) checkpoint_after: Duration,
    /// The same where other processes answer from the database.
    pub(crate) checkpoint_after_shared: Duration,
    /// How often the owner looks at parked keys: whether one is due, or something was asked for.
    pub(crate) requests_every: Duration,
    /// When parked keys are tried again, and how many there may be.
    pub(crate) parking: ParkingSettings,
    /// The first pause after the database failed; it doubles up to `longest_pause`.
    pub(crate) first_pause: Duration,
    /// See `first_pause`.
    pub(crate) longest_pause: Duration,
    /// How long stopping waits for the batch that is under way.
    pub(crate) stop_within: Duration,
}

impl Default for ProjectorSettings {
    fn default() -> Self {
        Self {
            lease_for: Duration::from_secs(3),
            acquire_every: Duration::from_secs(1),
            gather_for: Duration::from_millis(20),
            look_every: Duration::from_millis(25),
            checkpoint_after: Duration::from_secs(1),
            checkpoint_after_shared: Duration::from_millis(100),
            requests_every: Duration::from_millis(250),
            parking: ParkingSettings::default(),
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(2),
            stop_within: Duration::from_secs(10),
        }
    }
}

impl ProjectorSettings {
    fn patience(&self) -> Patience {
        let Self { lease_for, acquire_every, first_pause, longest_pause, .. } = *self;
        Patience { lease_for, look_every: acquire_every, first_pause, longest_pause }
    }
}

/// What a projection starts from.
pub(crate) struct Start {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tail: Tail,
    /// This process.
    pub(crate) owner: Uuid,
    pub(crate) settings: ProjectorSettings,
    /// Runs what must not wait for the projection's own code.
    pub(crate) spawn: Arc<dyn Fn(Task) + Send + Sync>,
}

/// Starts the projection `P`: makes its place if it is new, then a task for each partition.
///
/// # Errors
/// Its place cannot be opened or made, or a checkpoint does not belong to this log.
pub(crate) async fn start<P: Projection>(start: Start) -> Result<ProjectorHandle, StartError> {
    check_projection_name(P::NAME)?;
    let model = format!("{}@{}", P::NAME, P::VERSION);
    register_version(&*start.store, P::NAME, P::VERSION, P::PARTITIONS).await?;
    let database = start.store.open_projection(P::NAME, P::VERSION).await?;
    make::<P>(&*database, &model).await?;
    let ids: Vec<_> = (0..P::PARTITIONS).map(|n| PartitionId::new(&*model, n)).collect();
    let head = start.store.head().await?;
    let (stop, stopping) = watch::channel(false);
    let standings = Arc::new(Standings::new(&ids, head));
    for id in &ids {
        let checkpoint = database.load_checkpoint(id).await?;
        let position = verify(&*start.store, &id.to_string(), checkpoint).await?;
        standings.saved(id.number, position);
        info!(%head, "projection {id} resumes from position {position}");
    }
    let settings = start.settings;
    let looks = AssignmentSettings { every: settings.acquire_every, lasts: settings.lease_for };
    let (spawn, owner) = (Arc::clone(&start.spawn), start.owner);
    let assigning = Assignment::start(
        Arc::clone(&start.store),
        &model,
        P::PARTITIONS,
        owner,
        looks,
        move |task| spawn(task),
    );
    let (assignment, duties) = assigning.await?;
    for (id, duty) in ids.iter().zip(duties) {
        let partition = Partition::<P> {
            id: id.clone(),
            store: Arc::clone(&start.store),
            database: Arc::clone(&database),
            sources: P::sources(),
            tail: start.tail.clone(),
            standings: Arc::clone(&standings),
            stopping: stopping.clone(),
            settings: settings.clone(),
        };
        let ownership = Ownership {
            id: id.clone(),
            store: Arc::clone(&start.store),
            process: owner,
            patience: settings.patience(),
            spawn: Arc::clone(&start.spawn),
            standings: Arc::clone(&standings),
            stopping: stopping.clone(),
        };
        let running = standings.running(id.number);
        (start.spawn)(Box::pin(async move {
            ownership.run_on_a_thread(partition, duty).await;
            drop(running);
        }));
    }
    Ok(ProjectorHandle::new::<P>(ids, database, standings, (stop, assignment), settings))
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
    transaction.check().await.map_err(refuse)?;
    match transaction.commit(None).await {
        Ok(()) => Ok(()),
        // Made or not: the next start finds out.
        Err(StoreError::Unknown(reason)) => Err(StoreError::Unavailable(reason).into()),
        Err(error) => Err(error.into()),
    }
}
