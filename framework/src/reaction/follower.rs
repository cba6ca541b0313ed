//! The follower of a reaction: events open and close work items, and due items are performed.
//!
//! A term first reads the log up to its end, which closes everything that a former owner has done.
//! Only then it starts work. The checkpoint stays before the oldest open item. Work that this release
//! cannot perform stays open, and the owner steps aside for another process, if there is one.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::work_queue::WorkQueue;
use super::{Destination, Meaning, Reaction, Step, Worked};
use crate::catch_panic::{guarded, guarded_async};
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::partition::{
    CheckpointWriter, End, Follower, LeaseGrant, LeaseSession, NextPage, Pacing, PartitionProgress,
    Plan, Reached,
};
use crate::spans;
use crate::store::contract::{Checkpoint, DocumentBatch, Filter, Page, Store};

/// Delay before the next look at the queue while the lease is not surely held: it is renewed or lost
/// soon.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A reaction, and the memory of its current term.
pub(crate) struct ReactionFollower<R> {
    reaction: Arc<R>,
    store: Arc<dyn Store>,
    progress: Arc<PartitionProgress>,
    pacing: Pacing,
    checkpoints: CheckpointWriter,
    /// The log is read up to here.
    reached: GlobalPosition,
    /// No work starts before this position is reached.
    begins_at: GlobalPosition,
    queue: WorkQueue,
    running: JoinSet<(String, Worked)>,
    /// Time at which the checkpoint is to be moved, if it can be.
    save_at: Option<Instant>,
}

impl<R: Reaction> ReactionFollower<R> {
    pub(super) fn new(
        reaction: R,
        store: Arc<dyn Store>,
        progress: Arc<PartitionProgress>,
        pacing: Pacing,
    ) -> Self {
        let id = progress.id().clone();
        Self {
            reaction: Arc::new(reaction),
            store,
            checkpoints: CheckpointWriter::new(id, LeaseGrant::void(), None),
            progress,
            pacing,
            reached: GlobalPosition::ZERO,
            begins_at: GlobalPosition::ZERO,
            queue: WorkQueue::new(R::LIMITS),
            running: JoinSet::new(),
            save_at: None,
        }
    }

    /// Starts the work that is due, as long as the lease is surely held.
    fn start_work(&mut self, until: Option<Instant>) {
        let now = Instant::now();
        let Some(until) = until.filter(|until| *until > now) else { return };
        while self.reached >= self.begins_at {
            let Some(id) = self.queue.next(now) else { return };
            let reaction = Arc::clone(&self.reaction);
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
        // Only a runtime that ends drops a task; the next owner continues.
        let Some((id, Worked { step, health })) = done else { return };
        self.queue.finished(&id, health, now);
        match step {
            Step::Done => {
                self.close(&id);
                self.progress.count_events(1);
                self.save_at.get_or_insert(now + self.pacing.checkpoint_after);
            }
            Step::Again(pause) => self.queue.again(&id, pause, now),
            Step::Unable(reason) => {
                self.leave_open(&id, &reason);
                self.queue.again(&id, Some(self.pacing.unable_delay), now);
            }
        }
    }

    /// Makes work visible that this release cannot perform: in the log, the status and the metrics.
    fn leave_open(&mut self, id: &str, reason: &str) {
        if self.queue.mark_unable(id) {
            tracing::error!(
                command = id,
                reason,
                "a deferred command stays open: run a release that knows it, or fail it"
            );
        }
        self.progress.failed(format!("the command {id} stays open: {reason}"));
        self.progress.parked(self.queue.unable());
    }

    fn close(&mut self, id: &str) {
        self.queue.close(id);
        self.progress.parked(self.queue.unable());
    }

    fn take(&mut self, event: &RecordedEvent) {
        let id = event.stream.id();
        match guarded(|| self.reaction.meaning(event)) {
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

    /// Moves the checkpoint to before the oldest open item.
    async fn save(&mut self) -> Result<(), StoreError> {
        self.save_at = None;
        let oldest = self.queue.oldest();
        let to = oldest.map_or(Reached::at(self.reached), Reached::before);
        if to.position <= self.checkpoints.saved().position {
            return Ok(());
        }
        let mut draft = self.checkpoints.update(to, Vec::new());
        let update = draft.build(&*self.store).await?;
        crate::failpoints::point("later.before_checkpoint");
        let batch = DocumentBatch { documents: Vec::new(), deleted: Vec::new(), update };
        self.store.save_documents(batch).await?;
        self.checkpoints.is_saved(draft.to());
        self.progress.committed(to.position);
        self.progress.count_save();
        Ok(())
    }
}

impl<R: Reaction> Follower for ReactionFollower<R> {
    fn filter(&self) -> Filter {
        Filter { aggregate_types: vec![R::FOLLOWS.to_owned()] }
    }

    async fn load_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.store.load_checkpoint(self.progress.id()).await
    }

    async fn begin(
        &mut self,
        session: &LeaseSession,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), StoreError> {
        let id = self.progress.id().clone();
        self.checkpoints = CheckpointWriter::new(id, session.grant().clone(), checkpoint);
        self.reached = self.checkpoints.saved().position;
        // Everything that a former owner has finished is before this head, so none of it is done
        // twice.
        self.begins_at = self.store.head().await?;
        self.queue = WorkQueue::new(R::LIMITS);
        self.save_at = None;
        Ok(())
    }

    fn plan(&mut self, until: Option<Instant>, _is_at_tail: bool) -> Plan {
        self.start_work(until);
        let now = Instant::now();
        let next = self.queue.next_due(now).filter(|_| self.reached >= self.begins_at);
        // Work may be due while the lease is not surely held. Without this delay the driver would
        // spin until it is.
        let next = next.map(|due| due.max(now + LOOK_AGAIN));
        Plan {
            due: [next, self.save_at].into_iter().flatten().min(),
            next_page: NextPage::Now,
            page_events: usize::MAX,
        }
    }

    async fn work(&mut self) -> Result<ControlFlow<End>, StoreError> {
        match self.running.join_next().await {
            Some(done) => self.settle(done.ok()),
            None => std::future::pending().await,
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn apply(&mut self, page: &Arc<Page>) -> Result<ControlFlow<End>, StoreError> {
        let reached = self.reached;
        // A page of the tail may begin before the place from which this subscription continues.
        let followed = page.events.iter().filter(|event| {
            event.position > reached && event.stream.aggregate_type() == R::FOLLOWS
        });
        for event in followed {
            self.take(event);
        }
        self.reached = page.scanned_to;
        self.save_at.get_or_insert(Instant::now() + self.pacing.checkpoint_after);
        Ok(ControlFlow::Continue(()))
    }

    async fn do_due(&mut self) -> Result<(), StoreError> {
        match self.save_at.is_some_and(|at| at <= Instant::now()) {
            true => self.save().await,
            false => Ok(()), // `plan` starts what is due
        }
    }

    async fn save_for_reader(&mut self) -> Result<(), StoreError> {
        Ok(()) // no reader waits for a reaction
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        let finish_within = self.pacing.finish_within;
        let finishing = async {
            while let Some(done) = self.running.join_next().await {
                self.settle(done.ok());
            }
        };
        // The next owner finds out the outcome of work that is still running then.
        let _ = timeout(finish_within, finishing).await;
        self.save().await
    }

    fn wants_to_step_aside(&self) -> bool {
        self.queue.unable() > 0
    }

    fn reached(&self) -> GlobalPosition {
        self.reached
    }

    async fn ended(&mut self) {
        // Aborted, because another process may perform the same work from here on.
        self.running = JoinSet::new();
        // What stays open is the next owner's to report.
        self.progress.parked(0);
    }
}
