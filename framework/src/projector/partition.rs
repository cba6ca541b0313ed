//! One partition: owned by the process that holds its lease, and by nobody else. Which process should
//! hold it is the assignment's to say.
//!
//! The lease is renewed beside it, so that code that takes its time does not lose it; what protects
//! the rows is that each commit shows its token.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::ProjectorSettings;
use super::standing::Standings;
use super::term::Term;
use crate::actor::read_model::State;
use crate::checkpoint::PartitionId;
use crate::document::Store;
use crate::error::StoreError;
use crate::lease::Lease;
use crate::projection::Projection;
use crate::projection_store::ProjectionDatabase;
use crate::sources::EventSources;
use crate::stream::GlobalPosition;
use crate::subscription::{Duty, Pause, Tail, Task};

/// What runs on the thread of a partition.
pub(super) struct Partition<P: Projection> {
    pub(super) id: PartitionId,
    pub(super) store: Arc<dyn Store>,
    pub(super) database: Arc<dyn ProjectionDatabase>,
    pub(super) sources: EventSources<P::Event>,
    pub(super) tail: Tail,
    /// This process.
    pub(super) owner: Uuid,
    pub(super) renewals: Renewals,
    pub(super) standings: Arc<Standings>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) settings: ProjectorSettings,
}

/// Why a term ended.
pub(super) enum End {
    /// The application stops.
    Stopped,
    /// Another process owns it now.
    Lost,
    /// Another process should.
    HandsOver,
    /// The database did not answer, or nobody knows what became of a commit: on from what is stored.
    Again(StoreError),
    /// It stands still for good.
    Halted { position: GlobalPosition, reason: String },
}

/// Renews leases somewhere else.
pub(super) struct Renewals {
    pub(super) store: Arc<dyn Store>,
    pub(super) spawn: Arc<dyn Fn(Task) + Send + Sync>,
    pub(super) lease_for: Duration,
}

impl Renewals {
    /// Renews the lease until the answer is dropped; it turns true when the lease is lost.
    fn start(&self, lease: Lease) -> watch::Receiver<bool> {
        let (lost, is_lost) = watch::channel(false);
        let (store, lease_for) = (Arc::clone(&self.store), self.lease_for);
        (self.spawn)(Box::pin(async move {
            loop {
                tokio::select! {
                    () = lost.closed() => return,
                    () = sleep(lease_for / 3) => {}
                }
                match store.renew_lease(&lease, lease_for).await {
                    Ok(true) => {}
                    Ok(false) => {
                        lost.send_replace(true);
                        return;
                    }
                    Err(error) => {
                        warn!(lease = %lease.name, %error, "a lease cannot be renewed; trying again");
                    }
                }
            }
        }));
        is_lost
    }
}

impl<P: Projection> Partition<P> {
    /// Owns the partition whenever it may and should, until the application stops.
    pub(super) async fn run(mut self, mut duty: Duty) {
        let (name, number) = (self.id.to_string(), self.id.number);
        // A process that withdrew from a partition of the model takes no more of it.
        let mut owns = Some(duty.owns());
        while !self.is_stopping() {
            match self.acquire(owns).await {
                Ok(Some(lease)) => {
                    info!(partition = %name, token = lease.token, "owns its partition from here on");
                    self.standings.owns(number, true);
                    let end = self.own(&lease, &mut duty).await;
                    self.standings.owns(number, false);
                    match end {
                        End::Halted { position, reason } => {
                            error!(partition = %name, %position, %reason, "a projection halts");
                            duty.withdraw();
                            self.standings.work(number).failed(&reason);
                            return self.standings.turn(number, State::Halted { position, reason });
                        }
                        End::Lost => warn!(partition = %name, "lost its lease"),
                        End::HandsOver => self.give_up(&lease).await,
                        End::Stopped | End::Again(_) => return self.give_up(&lease).await,
                    }
                }
                Ok(None) => {
                    if let Ok(Some(checkpoint)) = self.database.load_checkpoint(&self.id).await {
                        self.standings.saved(number, checkpoint.position);
                    }
                }
                Err(error) => {
                    warn!(partition = %name, %error, "the store cannot be asked for a lease; trying again");
                }
            }
            tokio::select! {
                _ = self.stopping.wait_for(|stop| *stop) => {}
                next = duty.next(), if owns.is_some() => owns = next,
                () = sleep(self.settings.acquire_every), if owns.is_none() => {}
            }
        }
    }

    async fn acquire(&self, owns: Option<bool>) -> Result<Option<Lease>, StoreError> {
        match owns {
            Some(true) => {
                let (name, lease_for) = (self.id.to_string(), self.settings.lease_for);
                self.store.acquire_lease(&name, self.owner, lease_for).await
            }
            Some(false) | None => Ok(None),
        }
    }

    /// It was told to stop, or nobody has a handle any more.
    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow() || self.stopping.has_changed().is_err()
    }

    /// Terms under one lease, each on from what is stored.
    async fn own(&mut self, lease: &Lease, duty: &mut Duty) -> End {
        let mut lost = self.renewals.start(lease.clone());
        let mut pause = Pause::new(self.settings.first_pause, self.settings.longest_pause);
        let mut step = 0;
        loop {
            let mut term = Term::new(self, lease, &mut step);
            let end = tokio::select! {
                biased;
                // In the middle of a batch, too: it would come to nothing.
                _ = lost.wait_for(|lost| *lost) => End::Lost,
                end = term.run(duty) => end,
            };
            if term.has_moved() {
                pause.reset();
            }
            match end {
                End::Again(error) => {
                    warn!(partition = %self.id, %error, "a batch is not stored; trying again");
                    self.standings.work(self.id.number).failed(&error);
                    let mut stopping = self.stopping.clone();
                    tokio::select! {
                        _ = stopping.wait_for(|stop| *stop) => return End::Stopped,
                        () = pause.rest() => {}
                    }
                }
                end => return end,
            }
        }
    }

    async fn give_up(&self, lease: &Lease) {
        if let Err(error) = self.store.release_lease(lease).await {
            warn!(lease = %lease.name, %error, "a lease is not given up; it will expire");
        }
    }
}
