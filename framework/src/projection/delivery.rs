//! Pages delivered by hand, for the test kit: once, twice, and with a crash before the checkpoint.
//!
//! What takes them in is the runtime itself, its transactions, its checkpoints and its parking. Only
//! the log is left out: a page holds whatever events it is given.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Projection;
use super::batch::Batch;
use super::partition::Partition;
use super::start::{ProjectorSettings, make};
use super::term::Term;
use crate::clock::{Clock, SystemClock};
use crate::event::GlobalPosition;
use crate::partition::{End, Standings};
use crate::store::contract::{
    Lease, Page, PartitionId, ProjectionDatabase, Store, check_projection_name,
};
use crate::subscription::{Tail, TailSettings};

/// How each page is delivered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Delivery {
    Once,
    /// And again by whoever still takes the old checkpoint for the last one.
    Twice,
    /// Its rows are written, then the process dies, and the next one is given it anew.
    Crash,
}

/// Delivers the pages to tables made for them, in the place of the version `number`, and answers that
/// place.
///
/// # Errors
/// Why it cannot be done, or what would halt the projection.
pub(crate) async fn deliver<P: Projection>(
    store: &Arc<dyn Store>,
    number: u32,
    pages: &[Page],
    delivery: Delivery,
) -> Result<Arc<dyn ProjectionDatabase>, String> {
    check_projection_name(P::NAME).map_err(|error| error.to_string())?;
    store.drop_projection(P::NAME, number).await.map_err(|error| error.to_string())?;
    let mut process = Process::<P>::start(store, number).await?;
    let mut delivered = Ok(());
    for page in pages {
        if delivered.is_ok() && delivery == Delivery::Crash {
            delivered = process.lose(page).await;
            process.end().await?;
            process = Process::start(store, number).await?;
        }
        if delivered.is_ok() {
            delivered = process.take_in(page, delivery == Delivery::Twice).await;
        }
    }
    let database = process.end().await?;
    delivered.map(|()| database)
}

/// What a process has of the projection.
struct Process<P: Projection> {
    database: Arc<dyn ProjectionDatabase>,
    partitions: Vec<(Partition<P>, Lease)>,
    steps: Vec<u64>,
}

impl<P: Projection> Process<P> {
    async fn start(store: &Arc<dyn Store>, number: u32) -> Result<Self, String> {
        let database = store.open_projection(P::NAME, number).await;
        let database = database.map_err(|error| error.to_string())?;
        let model = format!("{}@{number}", P::NAME);
        make::<P>(&*database, &model).await.map_err(|error| error.to_string())?;
        let ids: Vec<_> = (0..P::PARTITIONS).map(|n| PartitionId::new(&*model, n)).collect();
        let standings = Arc::new(Standings::new(&ids, GlobalPosition::ZERO));
        let owner = SystemClock.new_id();
        let mut partitions = Vec::new();
        for id in ids {
            let name = id.to_string();
            let lease = store.acquire_lease(&name, owner, LEASE_FOR).await;
            let lease = lease.map_err(|error| error.to_string())?;
            let lease = lease.ok_or_else(|| format!("another test uses {name} in this store"))?;
            let partition = Partition::<P> {
                id,
                database: Arc::clone(&database),
                sources: P::sources(),
                tail: Tail::start(
                    Arc::clone(store),
                    GlobalPosition::ZERO,
                    TailSettings::default(),
                    drop,
                ),
                standings: Arc::clone(&standings),
                stopping: watch::channel(false).1,
                settings: ProjectorSettings::default(),
                store: Arc::clone(store),
            };
            partitions.push((partition, lease));
        }
        let steps = vec![0; partitions.len()];
        Ok(Self { database, partitions, steps })
    }

    /// Writes the rows of a page, and not the checkpoint.
    async fn lose(&self, page: &Page) -> Result<(), String> {
        for (partition, lease) in &self.partitions {
            let mut step = 0;
            let term = resumed(partition, lease, &mut step).await?;
            let mut batch = Batch::of(partition, &term.parking, page);
            let projected = term.project(&mut batch).await;
            projected.map(drop).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn take_in(&mut self, page: &Page, twice: bool) -> Result<(), String> {
        for ((partition, lease), step) in self.partitions.iter().zip(&mut self.steps) {
            let mut late_step = *step;
            let mut late = resumed(partition, lease, &mut late_step).await?;
            let mut term = resumed(partition, lease, step).await?;
            take_in(&mut term, page).await?;
            if twice {
                take_in(&mut late, page).await?;
            }
        }
        Ok(())
    }

    async fn end(self) -> Result<Arc<dyn ProjectionDatabase>, String> {
        for (partition, lease) in &self.partitions {
            partition.store.release_lease(lease).await.map_err(|error| error.to_string())?;
        }
        Ok(self.database)
    }
}

/// Longer than any test takes.
const LEASE_FOR: Duration = Duration::from_secs(600);

async fn resumed<'a, P: Projection>(
    partition: &'a Partition<P>,
    lease: &'a Lease,
    step: &'a mut u64,
) -> Result<Term<'a, P>, String> {
    let mut term = Term::new(partition, lease, step);
    term.resume().await.map_err(|error| error.to_string())?;
    Ok(term)
}

async fn take_in<P: Projection>(term: &mut Term<'_, P>, page: &Page) -> Result<(), String> {
    if let Some((position, reason)) = Batch::of(term.partition, &term.parking, page).halt {
        return Err(format!("the event at position {position} stops all of {}: {reason}", P::NAME));
    }
    match term.take_in(page).await {
        Ok(None) => Ok(()),
        Ok(Some(End::Halted { reason, .. })) => Err(reason),
        Ok(Some(_)) => Err("the projection ended".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
