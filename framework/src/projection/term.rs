//! One term: from the stored checkpoint on, page after page, until something ends it.
//!
//! What is in memory is thrown away with the term, so whatever the database answered or did not, the
//! next one goes on from what is stored.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::Instrument;
use uuid::Uuid;

use super::Projection;
use super::batch::Batch;
use super::partition::Partition;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::partition::parking::Parking;
use crate::partition::{Duty, End};
use crate::spans;
use crate::store::contract::{
    Checkpoint, CheckpointUpdate, Filter, Lease, Page, ParkedQuery, SqlTransaction,
};
use crate::subscription::{event_at, verify};

/// A position reached, and the event there if it was seen.
#[derive(Clone, Copy)]
pub(super) struct Reached {
    pub(super) position: GlobalPosition,
    pub(super) event_id: Option<Uuid>,
}

/// The memory of one term.
pub(super) struct Term<'a, P: Projection> {
    pub(super) partition: &'a Partition<P>,
    pub(super) lease: &'a Lease,
    /// The number of the last step under this lease.
    step: &'a mut u64,
    pub(super) checkpoint: Option<Checkpoint>,
    /// Looked through up to here, with nothing to take in behind the checkpoint.
    reached: Reached,
    /// When it was first ahead of the checkpoint.
    ahead_since: Option<Instant>,
    /// Until then the next page waits for more to come, unless somebody waits for it.
    gathers_until: Option<Instant>,
    pub(super) parking: Parking,
    looked_at_parked: Instant,
    has_moved: bool,
}

impl<'a, P: Projection> Term<'a, P> {
    pub(super) fn new(partition: &'a Partition<P>, lease: &'a Lease, step: &'a mut u64) -> Self {
        Self {
            partition,
            lease,
            step,
            checkpoint: None,
            reached: Reached { position: GlobalPosition::ZERO, event_id: None },
            ahead_since: None,
            gathers_until: None,
            parking: Parking::new(partition.id.number, partition.settings.parking.clone()),
            looked_at_parked: Instant::now(),
            has_moved: false,
        }
    }

    /// Whether it stored anything.
    pub(super) fn has_moved(&self) -> bool {
        self.has_moved
    }

    pub(super) async fn run(&mut self, duty: &mut Duty) -> End {
        match self.follow(duty).await {
            Ok(end) => end,
            Err(StoreError::LeaseLost { .. }) => End::Lost,
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => End::Again(error),
            Err(error @ StoreError::Checkpoint { .. }) => {
                // Somebody else has written. With the lease lost that is as it should be.
                let lease_for = self.partition.settings.lease_for;
                match self.partition.store.renew_lease(self.lease, lease_for).await {
                    Ok(false) => End::Lost,
                    Ok(true) => self.halt(error.to_string()),
                    Err(error) => End::Again(error),
                }
            }
            Err(fault) => self.halt(fault.to_string()),
        }
    }

    pub(super) fn halt(&self, reason: String) -> End {
        End::Halted { position: self.reached.position.next(), reason }
    }

    fn number(&self) -> u32 {
        self.partition.id.number
    }

    /// Goes on from what is stored.
    pub(super) async fn resume(&mut self) -> Result<(), StoreError> {
        let Partition { id, database, settings, .. } = self.partition;
        self.checkpoint = database.resume(id, self.lease).await?;
        self.reached.position = self.saved();
        let parked = database.load_parked(&id.model, &ParkedQuery::default()).await?.keys;
        let (settings, now) = (settings.parking.clone(), std::time::Instant::now());
        self.parking = Parking::resume(id.number, settings, parked, now);
        Ok(())
    }

    /// # Errors
    /// Anything that ends the term.
    async fn follow(&mut self, duty: &mut Duty) -> Result<End, StoreError> {
        let Partition { id, store, tail, sources, .. } = self.partition;
        self.resume().await?;
        let position = verify(&**store, &id.to_string(), self.checkpoint).await?;
        self.partition.standings.saved(self.number(), position);
        if self.parking.is_crowded() {
            self.look_at_parked().await?;
        }
        let types = sources.routes.aggregate_types().map(str::to_owned).collect();
        let filter = Filter { aggregate_types: types };
        let mut subscription = tail.subscribe(&id.to_string(), filter, position);
        let mut stopping = self.partition.stopping.clone();
        let mut is_assigned = true;
        loop {
            let due = self.due();
            let gathers_until = self.gathers_until.filter(|_| !self.is_wanted());
            let next = async {
                if let Some(until) = gathers_until {
                    sleep_until(until).await;
                }
                subscription.next().await
            };
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => {
                    self.save_reached().await?;
                    return Ok(End::Stopped);
                }
                owns = duty.next(), if is_assigned => match owns {
                    Some(true) => {}
                    Some(false) => {
                        self.save_reached().await?;
                        return Ok(End::HandsOver);
                    }
                    None => is_assigned = false,
                },
                () = sleep_until(due) => self.work_off().await?,
                () = self.partition.standings.wish(self.number()) => {
                    if self.is_wanted() {
                        self.save_reached().await?;
                    }
                }
                page = next => match page? {
                    Some(page) => {
                        let saved = self.saved();
                        if let Some(end) = self.take_in(&page).await? {
                            return Ok(end);
                        }
                        let gathers = self.saved() > saved && subscription.is_at_tail();
                        self.gathers_until =
                            gathers.then(|| Instant::now() + self.partition.settings.gather_for);
                    }
                    None => return Ok(End::Stopped),
                },
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.partition.standings.is_wanted(self.number(), self.saved())
    }

    pub(super) fn saved(&self) -> GlobalPosition {
        self.checkpoint.map(|checkpoint| checkpoint.position).unwrap_or_default()
    }

    /// Every event up to here has come to this term: it is in the rows, parked or waiting.
    pub(super) fn passed(&self) -> GlobalPosition {
        self.reached.position.max(self.saved())
    }

    /// When there will be something to do, should no page come.
    fn due(&self) -> Instant {
        let settings = &self.partition.settings;
        let checkpoint_after = match self.partition.store.info().is_sole_writer {
            true => settings.checkpoint_after,
            false => settings.checkpoint_after_shared,
        };
        let checkpoint = self.ahead_since.map(|since| since + checkpoint_after);
        let far = Instant::now() + Duration::from_secs(3600);
        let parked =
            (!self.parking.is_empty()).then_some(self.looked_at_parked + settings.requests_every);
        [checkpoint, parked].into_iter().flatten().min().unwrap_or(far)
    }

    /// Does what has become due.
    async fn work_off(&mut self) -> Result<(), StoreError> {
        self.save_reached().await?;
        self.look_at_parked().await?;
        self.looked_at_parked = Instant::now();
        Ok(())
    }

    /// Takes a page in. `Some` if the term ends with it.
    pub(super) async fn take_in(&mut self, page: &Page) -> Result<Option<End>, StoreError> {
        let mut batch = Batch::of(self.partition, &self.parking, page);
        let (reached, halt) = (batch.reached, batch.halt.take());
        if !batch.is_empty() {
            let span = spans::project(P::NAME, batch.events.len());
            let transaction = self.project(&mut batch).instrument(span).await?;
            if let Err(full) = self.park(&mut batch) {
                return Ok(Some(self.halt(full.to_string())));
            }
            self.commit(transaction, reached).await?;
            self.partition.standings.work(self.number()).applied(batch.events.len());
        } else if reached.position > self.reached.position {
            self.reached = reached;
            self.ahead_since.get_or_insert_with(Instant::now);
            if self.is_wanted() {
                self.save_reached().await?;
            }
        }
        let Some((position, reason)) = halt else { return Ok(None) };
        self.save_reached().await?;
        Ok(Some(End::Halted { position, reason }))
    }

    /// Saves the checkpoint alone, if it is behind what was looked through.
    async fn save_reached(&mut self) -> Result<(), StoreError> {
        if self.reached.position <= self.saved() {
            return Ok(());
        }
        let transaction = self.begin().await?;
        self.commit(transaction, self.reached).await
    }

    /// Commits what the transaction holds, with the step of the checkpoint.
    pub(super) async fn commit(
        &mut self,
        transaction: Box<dyn SqlTransaction>,
        reached: Reached,
    ) -> Result<(), StoreError> {
        let store = &*self.partition.store;
        let (position, from) = (reached.position, self.saved());
        let event_id = match (reached.event_id, self.checkpoint) {
            (Some(event_id), _) => event_id,
            (None, Some(checkpoint)) if checkpoint.position == position => checkpoint.event_id,
            (None, _) => {
                event_at(store, position).await?.ok_or_else(|| StoreError::Checkpoint {
                    name: self.partition.id.to_string(),
                    reason: format!("the log has no event at position {position} any more"),
                })?
            }
        };
        let checkpoint = Checkpoint { log_id: store.info().identity.log_id, position, event_id };
        *self.step += 1;
        let parked = self.parking.hand_out();
        let (partition, lease) = (self.partition.id.clone(), self.lease.clone());
        let update =
            CheckpointUpdate { partition, from, sequence: *self.step, checkpoint, parked, lease };
        transaction.commit(Some(&update)).await?;
        self.parking.saved();
        self.has_moved = true;
        self.checkpoint = Some(checkpoint);
        self.reached = Reached { position, event_id: Some(event_id) };
        self.ahead_since = None;
        self.partition.standings.saved(self.number(), position);
        let work = self.partition.standings.work(self.number());
        work.saved();
        work.parked(self.parking.len());
        Ok(())
    }
}
