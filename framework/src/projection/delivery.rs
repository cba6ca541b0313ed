//! Pages delivered by hand, for the test kit: once, twice, and with a crash before the checkpoint.
//!
//! The follower of production applies them, with its transactions, checkpoints and parking. Only the
//! log and the driver are left out: a page holds whatever events it is given.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::Projection;
use super::batch::Batch;
use super::follower::ProjectionFollower;
use super::start::make;
use crate::clock::{Clock, SystemClock};
use crate::event::GlobalPosition;
use crate::partition::{End, LeaseGrant, Pacing, PartitionProgress};
use crate::store::contract::{
    Lease, Page, PartitionId, ProjectionDatabase, Store, check_projection_name,
};

/// Ways to deliver a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Delivery {
    Once,
    /// A second time by a process that still takes the old checkpoint for the last one.
    Twice,
    /// The process dies after the rows of the page are written and before they are committed. The next
    /// process gets the page again.
    Crash,
}

/// Delivers the pages to tables made for them, in the place of the version `number`, and returns that
/// place.
///
/// # Errors
/// The reason why it cannot be done, or why the projection would halt.
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
            delivered = process.apply(page, delivery == Delivery::Twice).await;
        }
    }
    let database = process.end().await?;
    delivered.map(|()| database)
}

/// A process that owns every partition of the projection.
struct Process<P: Projection> {
    store: Arc<dyn Store>,
    database: Arc<dyn ProjectionDatabase>,
    partitions: Vec<(ProjectionFollower<P>, Lease)>,
    /// Number of pages that were applied.
    pages: u64,
}

impl<P: Projection> Process<P> {
    async fn start(store: &Arc<dyn Store>, number: u32) -> Result<Self, String> {
        let database = store.open_projection(P::NAME, number).await;
        let database = database.map_err(|error| error.to_string())?;
        let model = format!("{}@{number}", P::NAME);
        make::<P>(&*database, &model).await.map_err(|error| error.to_string())?;
        let owner = SystemClock.new_id();
        let mut partitions = Vec::new();
        for number in 0..P::PARTITIONS {
            let id = PartitionId::new(&*model, number);
            let name = id.to_string();
            let lease = store.acquire_lease(&name, owner, LEASE_FOR).await;
            let lease = lease.map_err(|error| error.to_string())?;
            let lease = lease.ok_or_else(|| format!("another test uses {name} in this store"))?;
            partitions.push((follower(store, &database, id), lease));
        }
        Ok(Self { store: Arc::clone(store), database, partitions, pages: 0 })
    }

    /// Writes the rows of a page, and not the checkpoint.
    async fn lose(&mut self, page: &Page) -> Result<(), String> {
        for (follower, lease) in &mut self.partitions {
            resume(follower, lease, 0).await?;
            let (routes, number) = (&follower.sources.routes, follower.id().number);
            let mut batch = Batch::of::<P>(routes, number, &follower.parking, page);
            let projected = follower.project(&mut batch).await;
            projected.map(drop).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn apply(&mut self, page: &Page, twice: bool) -> Result<(), String> {
        for (current, lease) in &mut self.partitions {
            let mut late = follower::<P>(&self.store, &self.database, current.id().clone());
            // Both number their saves alike, as a batch that is sent again does.
            resume(&mut late, lease, self.pages).await?;
            resume(current, lease, self.pages).await?;
            apply(current, page).await?;
            if twice {
                apply(&mut late, page).await?;
            }
        }
        self.pages += 1;
        Ok(())
    }

    async fn end(self) -> Result<Arc<dyn ProjectionDatabase>, String> {
        for (_, lease) in &self.partitions {
            self.store.release_lease(lease).await.map_err(|error| error.to_string())?;
        }
        Ok(self.database)
    }
}

/// Longer than any test takes.
const LEASE_FOR: Duration = Duration::from_secs(600);

fn follower<P: Projection>(
    store: &Arc<dyn Store>,
    database: &Arc<dyn ProjectionDatabase>,
    id: PartitionId,
) -> ProjectionFollower<P> {
    let progress = PartitionProgress::new(id, GlobalPosition::ZERO, GlobalPosition::ZERO);
    ProjectionFollower::new(Arc::clone(store), Arc::clone(database), progress, Pacing::default())
}

async fn resume<P: Projection>(
    follower: &mut ProjectionFollower<P>,
    lease: &Lease,
    saves: u64,
) -> Result<(), String> {
    let checkpoint = follower.database.resume(follower.id(), lease).await;
    let checkpoint = checkpoint.map_err(|error| error.to_string())?;
    let begun = follower.begin_term(&LeaseGrant::after(lease.clone(), saves), checkpoint).await;
    begun.map_err(|error| error.to_string())
}

async fn apply<P: Projection>(
    follower: &mut ProjectionFollower<P>,
    page: &Page,
) -> Result<(), String> {
    match follower.apply_page(page).await {
        Ok(ControlFlow::Continue(())) => Ok(()),
        Ok(ControlFlow::Break(End::Halted { position, reason })) => {
            Err(format!("the event at position {position} stops all of {}: {reason}", P::NAME))
        }
        Ok(ControlFlow::Break(_)) => Err("the projection ended".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
