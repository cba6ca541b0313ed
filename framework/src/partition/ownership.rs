//! One partition: owned by the process that holds its lease, and by nobody else. Which process should
//! hold it is the assignment's to say.
//!
//! The lease is renewed beside the work, so that code that takes its time does not lose it; what
//! protects what is written is that each write shows its token. What leaves the store, where nobody
//! looks at tokens, is begun only as long as the lease is surely held. Projections and reactions are
//! owned so; what one does with a term is its own affair.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::Task;
use super::assignment::Duty;
use super::backoff::Pause;
use super::progress::State;
use super::standings::Standings;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Checkpoint, Lease, PartitionId, Store};
use crate::threads;

/// Why a term ended.
pub(crate) enum End {
    /// The application stops.
    Stopped,
    /// Another process owns it now.
    Lost,
    /// Another process should.
    HandsOver,
    /// The store did not answer, or nobody knows what became of a write: on from what is stored.
    Again(StoreError),
    /// It stands still for good.
    Halted { position: GlobalPosition, reason: String },
}

/// What is owned.
pub(crate) trait Owned {
    /// One term, on from what is stored: why it ended, and whether it stored or did anything. `step`
    /// is the number of the last step under this lease.
    async fn term(&mut self, held: &mut Held, step: &mut u64, duty: &mut Duty) -> (End, bool);

    /// The checkpoint as it is stored.
    async fn stored(&self) -> Result<Option<Checkpoint>, StoreError>;
}

/// How an owner waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How long a lease lasts without being renewed; it is renewed every third of that.
    pub(crate) lease_for: Duration,
    /// How often a process that has no duty any more looks how far the owner is.
    pub(crate) look_every: Duration,
    /// The first pause after a term that failed; it doubles up to `longest_pause`.
    pub(crate) first_pause: Duration,
    /// See `first_pause`.
    pub(crate) longest_pause: Duration,
}

/// One partition in this process.
pub(crate) struct Ownership {
    pub(crate) id: PartitionId,
    pub(crate) store: Arc<dyn Store>,
    /// This process.
    pub(crate) process: Uuid,
    pub(crate) patience: Patience,
    /// Runs the renewals, which must not wait for what is owned.
    pub(crate) spawn: Arc<dyn Fn(Task) + Send + Sync>,
    pub(crate) standings: Arc<Standings>,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// A lease that is renewed as long as this is kept.
pub(crate) struct Held {
    pub(crate) lease: Lease,
    /// Until then it is surely held; `None` once it is lost.
    until: watch::Receiver<Option<Instant>>,
}

impl Held {
    /// Until when it is surely held; `None` once it is lost.
    pub(crate) fn until(&self) -> Option<Instant> {
        *self.until.borrow()
    }

    /// Waits until it is lost.
    pub(crate) async fn lost(&mut self) {
        // An error says that nobody renews it any more, which is as bad.
        let _ = self.until.wait_for(Option::is_none).await;
    }
}

impl Ownership {
    /// Owns the partition whenever it may and should, until the application stops.
    pub(crate) async fn run(mut self, mut owned: impl Owned, mut duty: Duty) {
        let mut owns = Some(duty.owns());
        while let Some(mut held) = self.next_lease(&owned, &mut duty, &mut owns).await {
            if self.run_under(&mut owned, &mut held, &mut duty).await.is_break() {
                return;
            }
            self.wait(&mut duty, &mut owns).await;
        }
    }

    /// As [`Ownership::run`], with a thread and a runtime for as long as the lease is held: the code
    /// of what is owned may block. A standby has no thread.
    pub(crate) async fn run_on_a_thread<O: Owned + Send + 'static>(self, owned: O, duty: Duty) {
        let (standings, number) = (Arc::clone(&self.standings), self.id.number);
        let mut owns = Some(duty.owns());
        let mut all = Box::new((self, owned, duty));
        loop {
            let (ownership, owned, duty) = &mut *all;
            let Some(held) = ownership.next_lease(owned, duty, &mut owns).await else { return };
            let lease = held.lease.clone();
            let goes_on = match on_a_thread(&lease.name, all, held) {
                Ok(returned) => match returned.await {
                    Ok((returned, goes_on)) => {
                        all = returned;
                        goes_on
                    }
                    // The thread is gone, and with it what is owned.
                    Err(_) => return standings.panicked(number),
                },
                Err((returned, error)) => {
                    all = returned;
                    warn!(partition = %lease.name, %error, "no thread for a partition; trying again");
                    all.0.give_up(&lease).await;
                    ControlFlow::Continue(())
                }
            };
            if goes_on.is_break() {
                return;
            }
            let (ownership, _, duty) = &mut *all;
            ownership.wait(duty, &mut owns).await;
        }
    }

    /// Waits until the lease is granted; `None` once the application stops. A process that withdrew
    /// from a partition of the model takes no more of it: then `owns` is `None`, and it only looks
    /// how far the owner is.
    async fn next_lease(
        &mut self,
        owned: &impl Owned,
        duty: &mut Duty,
        owns: &mut Option<bool>,
    ) -> Option<Held> {
        let (name, number) = (self.id.to_string(), self.id.number);
        while !self.is_stopping() {
            match self.acquire(*owns).await {
                Ok(Some(held)) => return Some(held),
                Ok(None) => {
                    if let Ok(Some(checkpoint)) = owned.stored().await {
                        self.standings.saved(number, checkpoint.position);
                    }
                }
                Err(error) => {
                    warn!(partition = %name, %error, "the store cannot be asked for a lease; trying again");
                }
            }
            self.wait(duty, owns).await;
        }
        None
    }

    /// Until the next decision of the assignment, or the next look at how far the owner is.
    async fn wait(&mut self, duty: &mut Duty, owns: &mut Option<bool>) {
        tokio::select! {
            _ = self.stopping.wait_for(|stop| *stop) => {}
            next = duty.next(), if owns.is_some() => *owns = next,
            () = sleep(self.patience.look_every), if owns.is_none() => {}
        }
    }

    /// Owns the partition until the lease ends. Breaks if this process owns it no more.
    async fn run_under(
        &mut self,
        owned: &mut impl Owned,
        held: &mut Held,
        duty: &mut Duty,
    ) -> ControlFlow<()> {
        let (name, number) = (self.id.to_string(), self.id.number);
        info!(partition = %name, token = held.lease.token, "owns its partition from here on");
        self.standings.owns(number, true);
        let end = self.own(owned, held, duty).await;
        self.standings.owns(number, false);
        match end {
            End::Halted { position, reason } => {
                error!(partition = %name, %position, %reason, "a partition halts");
                duty.withdraw();
                self.standings.work(number).failed(&reason);
                self.standings.turn(number, State::Halted { position, reason });
                self.give_up(&held.lease).await;
                ControlFlow::Break(())
            }
            End::Lost => {
                warn!(partition = %name, "lost its lease");
                ControlFlow::Continue(())
            }
            End::HandsOver => {
                self.give_up(&held.lease).await;
                ControlFlow::Continue(())
            }
            End::Stopped | End::Again(_) => {
                self.give_up(&held.lease).await;
                ControlFlow::Break(())
            }
        }
    }

    /// It was told to stop, or nobody has a handle any more.
    fn is_stopping(&self) -> bool {
        *self.stopping.borrow() || self.stopping.has_changed().is_err()
    }

    async fn acquire(&self, owns: Option<bool>) -> Result<Option<Held>, StoreError> {
        if owns != Some(true) {
            return Ok(None);
        }
        let (name, lease_for, asked) =
            (self.id.to_string(), self.patience.lease_for, Instant::now());
        let lease = self.store.acquire_lease(&name, self.process, lease_for).await?;
        Ok(lease.map(|lease| self.hold(lease, asked)))
    }

    /// Renews the lease until what is answered is dropped. `asked`: when it was asked for.
    fn hold(&self, lease: Lease, asked: Instant) -> Held {
        let lease_for = self.patience.lease_for;
        let (told, until) = watch::channel(Some(asked + lease_for));
        let (store, renewed) = (Arc::clone(&self.store), lease.clone());
        (self.spawn)(Box::pin(async move {
            loop {
                tokio::select! {
                    () = told.closed() => return,
                    () = sleep(lease_for / 3) => {}
                }
                let asked = Instant::now();
                match store.renew_lease(&renewed, lease_for).await {
                    Ok(true) => told.send_replace(Some(asked + lease_for)),
                    Ok(false) => {
                        told.send_replace(None);
                        return;
                    }
                    Err(error) => {
                        warn!(lease = %renewed.name, %error, "a lease cannot be renewed; trying again");
                        continue;
                    }
                };
            }
        }));
        Held { lease, until }
    }

    /// Terms under one lease, each on from what is stored.
    async fn own(&mut self, owned: &mut impl Owned, held: &mut Held, duty: &mut Duty) -> End {
        let mut pause = Pause::new(self.patience.first_pause, self.patience.longest_pause);
        let mut step = 0;
        loop {
            let (end, has_moved) = owned.term(held, &mut step, duty).await;
            if has_moved {
                pause.reset();
            }
            match end {
                End::Again(error) => {
                    warn!(partition = %self.id, %error, "goes on from what is stored");
                    self.standings.work(self.id.number).failed(&error);
                    tokio::select! {
                        _ = self.stopping.wait_for(|stop| *stop) => return End::Stopped,
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

/// All that a partition runs with.
type All<O> = Box<(Ownership, O, Duty)>;

/// All of it again, and whether the partition is owned again later.
type Returned<O> = oneshot::Receiver<(All<O>, ControlFlow<()>)>;

/// Owns a partition on a thread of its own, and gives back what it took when the lease has ended.
///
/// # Errors
/// The operating system gave no thread; what was to run is given back.
fn on_a_thread<O: Owned + Send + 'static>(
    lease: &str,
    all: All<O>,
    held: Held,
) -> Result<Returned<O>, (All<O>, io::Error)> {
    // A thread that does not start drops its closure, so that takes what it needs from here.
    let (hand_over, taken) = std::sync::mpsc::channel::<(All<O>, Held)>();
    let (give_back, returned) = oneshot::channel();
    let run = move |runtime: Runtime| {
        let Ok((mut all, mut held)) = taken.recv() else { return };
        let (ownership, owned, duty) = &mut *all;
        let goes_on = runtime.block_on(ownership.run_under(owned, &mut held, duty));
        drop(held);
        let _ = give_back.send((all, goes_on)); // the application is gone
    };
    match threads::start(thread::Builder::new().name(format!("actum-{lease}")), run) {
        // The thread waits for exactly this.
        Ok(_) => {
            let _ = hand_over.send((all, held));
            Ok(returned)
        }
        Err(error) => Err((all, error)),
    }
}
