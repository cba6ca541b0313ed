//! One term of a reaction: from the stored checkpoint on, until something ends it.
//!
//! A term first reads the log up to its end, which closes everything that a former owner has done.
//! Only then it starts work. The checkpoint stays before the oldest open item. Work that this release
//! cannot perform stays open, and the term makes way for another process, if there is one.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument;

use super::owner::Owner;
use super::work_queue::WorkQueue;
use super::{Destination, Meaning, Reaction, Step, Worked};
use crate::catch_panic::{guarded, guarded_async};
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::partition::{Duty, End, Held};
use crate::spans;
use crate::store::contract::{Checkpoint, CheckpointUpdate, DocumentBatch, Lease, Page};
use crate::subscription::{event_at, verify};

/// How long the checkpoint may stay behind.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// The pause before work is tried again that this release cannot perform.
const UNABLE_PAUSE: Duration = Duration::from_secs(60);

/// How long the end of a term waits for running work.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// The memory of one term.
pub(super) struct Term<'a, R> {
    owner: &'a Owner<R>,
    /// The number of the last step under this lease.
    step: &'a mut u64,
    checkpoint: Option<Checkpoint>,
    /// The log is read up to here.
    reached: GlobalPosition,
    /// No work starts before this position is reached.
    begins_at: GlobalPosition,
    queue: WorkQueue,
    running: JoinSet<(String, Worked)>,
    /// When the checkpoint is to be moved, if it can be.
    save_at: Option<Instant>,
    has_moved: bool,
}

impl<'a, R: Reaction> Term<'a, R> {
    pub(super) fn new(owner: &'a Owner<R>, step: &'a mut u64) -> Self {
        Self {
            owner,
            step,
            checkpoint: None,
            reached: GlobalPosition::ZERO,
            begins_at: GlobalPosition::ZERO,
            queue: WorkQueue::new(R::LIMITS),
            running: JoinSet::new(),
            save_at: None,
            has_moved: false,
        }
    }

    /// Whether it stored or did anything.
    pub(super) fn has_moved(&self) -> bool {
        self.has_moved
    }

    pub(super) async fn run(&mut self, held: &mut Held, duty: &mut Duty) -> End {
        let end = match self.follow(held, duty).await {
            Ok(end @ (End::Stopped | End::HandsOver)) => {
                // The next owner would have to find out what became of it.
                let _ = timeout(FINISH_WITHIN, self.finish()).await;
                match self.save(&held.lease).await {
                    Ok(()) => Ok(end),
                    Err(error) => Err(error),
                }
            }
            other => other,
        };
        // What stays open is the next owner's to report.
        self.owner.standings.work(0).parked(0);
        match end {
            Ok(end) => end,
            Err(StoreError::LeaseLost { .. }) => End::Lost,
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => End::Again(error),
            Err(fault) if held.until().is_none() => {
                tracing::warn!(error = %fault, "another owner goes on");
                End::Lost
            }
            Err(fault) => End::Halted { position: self.reached.next(), reason: fault.to_string() },
        }
    }

    /// # Errors
    /// Anything that ends the term.
    async fn follow(&mut self, held: &mut Held, duty: &mut Duty) -> Result<End, StoreError> {
        let Owner { id, start, filter, stopping, .. } = self.owner;
        let (store, name) = (&start.store, id.to_string());
        self.checkpoint = store.load_checkpoint(id).await?;
        self.reached = verify(&**store, &name, self.checkpoint).await?;
        self.owner.standings.saved(0, self.reached);
        self.owner.standings.work(0).parked(0);
        self.begins_at = store.head().await?;
        let mut subscription = start.tail.subscribe(&name, filter.clone(), self.reached);
        let mut stopping = stopping.clone();
        let mut is_assigned = true;
        loop {
            self.begin(held);
            let due = self.due();
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => return Ok(End::Stopped),
                () = held.lost() => return Ok(End::Lost),
                owns = duty.next(), if is_assigned => match owns {
                    Some(true) => {}
                    Some(false) => return Ok(End::HandsOver),
                    None => is_assigned = false,
                },
                Some(done) = self.running.join_next() => self.settle(done.ok()),
                () = sleep_until(due) => {}
                page = subscription.next() => match page? {
                    Some(page) => self.take_in(&page),
                    None => return Ok(End::Stopped),
                },
            }
            if self.save_at.is_some_and(|at| at <= Instant::now()) {
                self.save(&held.lease).await?;
            }
            if self.queue.unable() > 0 && self.owner.makes_way(duty) {
                return Ok(End::HandsOver);
            }
        }
    }

    /// Starts the work that is due, as long as the lease is surely held.
    fn begin(&mut self, held: &Held) {
        let now = Instant::now();
        let Some(until) = held.until().filter(|until| *until > now) else { return };
        while self.reached >= self.begins_at {
            let Some(id) = self.queue.next(now) else { return };
            let reaction = Arc::clone(&self.owner.reaction);
            let span = spans::reaction(R::NAME, &id);
            let work = async move {
                let worked = guarded_async(reaction.work(&id, until)).await;
                let worked = worked.unwrap_or_else(|panic| {
                    tracing::error!(command = %id, %panic, "a reaction panicked; it tries again");
                    Step::Again(None).into()
                });
                (id, worked)
            };
            self.running.spawn(work.instrument(span));
        }
    }

    fn settle(&mut self, done: Option<(String, Worked)>) {
        let now = Instant::now();
        // Only a runtime that ends drops a task; the next owner goes on.
        let Some((id, Worked { step, health })) = done else { return };
        self.queue.finished(&id, health, now);
        match step {
            Step::Done => {
                self.close(&id);
                self.owner.standings.work(0).applied(1);
                self.has_moved = true;
                self.save_at.get_or_insert(now + SAVE_EVERY);
            }
            Step::Again(pause) => self.queue.again(&id, pause, now),
            Step::Unable(reason) => {
                self.leave_open(&id, &reason);
                self.queue.again(&id, Some(UNABLE_PAUSE), now);
            }
        }
    }

    /// Makes work visible that this release cannot perform: in the log, the status and the metrics.
    fn leave_open(&mut self, id: &str, reason: &str) {
        let work = self.owner.standings.work(0);
        if self.queue.mark_unable(id) {
            tracing::error!(
                command = id,
                reason,
                "a deferred command stays open: run a release that knows it, or fail it"
            );
        }
        work.failed(format!("the command {id} stays open: {reason}"));
        work.parked(self.queue.unable());
    }

    fn close(&mut self, id: &str) {
        self.queue.close(id);
        self.owner.standings.work(0).parked(self.queue.unable());
    }

    fn take_in(&mut self, page: &Page) {
        let (owner, reached) = (self.owner, self.reached);
        let followed = page.events.iter().filter(|event| {
            event.position > reached && owner.filter.admits(event.stream.aggregate_type())
        });
        for event in followed {
            self.take_in_one(event);
        }
        self.reached = page.scanned_to;
        self.save_at.get_or_insert(Instant::now() + SAVE_EVERY);
    }

    fn take_in_one(&mut self, event: &RecordedEvent) {
        let id = event.stream.id();
        match guarded(|| self.owner.reaction.meaning(event)) {
            Ok(Meaning::Opens { lane, destination }) => {
                self.queue.open(id, &lane, destination, event.position);
            }
            Ok(Meaning::Closes) => self.close(id),
            Ok(Meaning::Nothing) => {}
            // Nobody knows what the event means, so the command counts as open, in a lane of its
            // own: its work looks at the whole stream, and the checkpoint stays before it.
            Err(panic) => {
                let position = event.position;
                tracing::error!(command = id, %position, %panic, "a reaction panicked at an event");
                self.queue.open(id, id, Destination::default(), position);
                self.leave_open(id, &format!("its event at position {position} panicked: {panic}"));
            }
        }
    }

    /// Time at which there will be something to do, if nothing arrives before.
    fn due(&self) -> Instant {
        let now = Instant::now();
        // Not at once: a lease that is not surely held is renewed or lost soon.
        let soonest = now + Duration::from_millis(10);
        let next = self.queue.next_due(now).filter(|_| self.reached >= self.begins_at);
        let next = next.map(|due| due.max(soonest));
        [next, self.save_at].into_iter().flatten().min().unwrap_or(now + Duration::from_secs(3600))
    }

    async fn finish(&mut self) {
        while let Some(done) = self.running.join_next().await {
            self.settle(done.ok());
        }
    }

    /// Moves the checkpoint to before the oldest that is open.
    async fn save(&mut self, lease: &Lease) -> Result<(), StoreError> {
        self.save_at = None;
        let before = |open: GlobalPosition| GlobalPosition(open.0.saturating_sub(1));
        let position = self.queue.oldest().map_or(self.reached, before);
        let from = self.checkpoint.map(|checkpoint| checkpoint.position).unwrap_or_default();
        if position <= from {
            return Ok(());
        }
        let Owner { id, start, standings, .. } = self.owner;
        let missing = || {
            let (place, reason) = (format!("position {position}"), "no event is there".to_owned());
            StoreError::Corrupt { place, reason }
        };
        let event_id = event_at(&*start.store, position).await?.ok_or_else(missing)?;
        let log_id = start.store.info().identity.log_id;
        let checkpoint = Checkpoint { log_id, position, event_id };
        *self.step += 1;
        let update = CheckpointUpdate {
            partition: id.clone(),
            from,
            sequence: *self.step,
            checkpoint,
            parked: Vec::new(),
            lease: lease.clone(),
        };
        crate::failpoints::point("later.before_checkpoint");
        start
            .store
            .save_documents(DocumentBatch { documents: Vec::new(), deleted: Vec::new(), update })
            .await?;
        self.checkpoint = Some(checkpoint);
        self.has_moved = true;
        standings.saved(0, position);
        standings.work(0).saved();
        Ok(())
    }
}
