//! The follower of a reaction: events open and close work items, and due items are performed.
//!
//! Open work is saved with the checkpoint, which moves on with the log. So a term loads what is open
//! and reads the log from the checkpoint to its end, which closes everything that a former owner has
//! done since. Only then it starts work. Work that this release cannot perform stays open, and the
//! owner steps aside for another process, if there is one.
//!
//! See `docs/decisions.md`, "Where is work that is not done yet?"

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::open_work::{self, WorkChanges};
use super::work_queue::WorkQueue;
use super::{Details, Meaning, Opening, Reaction, Step, Worked};
use crate::catch_panic::{guarded, guarded_async};
use crate::clock::Clock;
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::partition::{
    CheckpointWriter, End, Follower, LeaseGrant, LeaseSession, NextPage, Pacing, PartitionProgress,
    Plan, Reached,
};
use crate::spans;
use crate::store::contract::{Checkpoint, DocumentBatch, Filter, OpenWork, Page, Store};

/// Delay before the next look at the queue while the lease is not surely held: it is renewed or lost
/// soon.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Number of unsaved changes that are saved without waiting. It bounds the size of a save.
const SAVE_AT: usize = 1_000;

/// A reaction, and the memory of its current term.
pub(crate) struct ReactionFollower<R> {
    reaction: Arc<R>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    progress: Arc<PartitionProgress>,
    pacing: Pacing,
    checkpoints: CheckpointWriter,
    /// The log is read up to here.
    reached: Reached,
    /// No work starts before this position is reached.
    begins_at: GlobalPosition,
    queue: WorkQueue,
    changes: WorkChanges,
    running: JoinSet<(String, Worked)>,
    /// Time of the next save.
    save_at: Option<Instant>,
}

impl<R: Reaction> ReactionFollower<R> {
    pub(super) fn new(
        reaction: R,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        progress: Arc<PartitionProgress>,
        pacing: Pacing,
    ) -> Self {
        let id = progress.id().clone();
        Self {
            reaction: Arc::new(reaction),
            store,
            clock,
            checkpoints: CheckpointWriter::new(id, LeaseGrant::void(), None),
            progress,
            pacing,
            reached: Reached::of(None),
            begins_at: GlobalPosition::ZERO,
            queue: WorkQueue::new(R::LIMITS),
            changes: WorkChanges::default(),
            running: JoinSet::new(),
            save_at: None,
        }
    }

    /// Starts the work that is due, as long as the lease is surely held.
    fn start_work(&mut self, until: Option<Instant>) {
        let now = Instant::now();
        let Some(until) = until.filter(|until| *until > now) else { return };
        while self.is_at_its_beginning() {
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

    /// Checks that everything is read that a former owner may have done.
    fn is_at_its_beginning(&self) -> bool {
        self.reached.position >= self.begins_at
    }

    fn settle(&mut self, done: Option<(String, Worked)>) {
        let now = Instant::now();
        // Only a runtime that ends drops a task; the next owner continues.
        let Some((id, Worked { step, health })) = done else { return };
        self.queue.finished(&id, health, now);
        let (pause, reason) = match step {
            Step::Done => {
                self.close(&id);
                self.progress.count_events(1);
                return self.save_soon();
            }
            Step::Again(pause) => (pause, None),
            Step::Unable(reason) => {
                self.leave_open(&id, &reason);
                (Some(self.pacing.unable_delay), Some(reason))
            }
        };
        if let Some((attempts, pause)) = self.queue.again(&id, pause, now) {
            // The next owner may be a release that can do it, so it tries at once.
            let pause = if reason.is_none() { pause } else { Duration::ZERO };
            let now = self.clock.now();
            let due_at = pause.try_into().ok().and_then(|pause| now.checked_add(pause));
            self.changes.again(&id, due_at.unwrap_or(now), attempts, reason);
            self.save_soon();
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

    fn open(&mut self, event: &RecordedEvent, opening: Opening) {
        let id = event.stream.id();
        if self.queue.contains(id) {
            return;
        }
        let destination = opening.details.destination.clone();
        self.queue.open(id, &opening.lane, destination, event.position);
        self.changes.open(opened(event, opening, 0));
    }

    fn close(&mut self, id: &str) {
        // An item that was closed before, by the event or by its work, has nothing left to save.
        if self.queue.contains(id) {
            self.queue.close(id);
            self.changes.close(id);
            self.progress.parked(self.queue.unable());
        }
    }

    fn take(&mut self, event: &RecordedEvent) {
        let id = event.stream.id();
        match guarded(|| self.reaction.meaning(event)) {
            Ok(Meaning::Opens(opening)) => self.open(event, opening),
            Ok(Meaning::Closes) => self.close(id),
            Ok(Meaning::Nothing) => {}
            // Nobody knows what the event means, so the command counts as open, in a lane of its
            // own: its work looks at the whole stream.
            Err(panic) => {
                let position = event.position;
                tracing::error!(command = id, %position, %panic, "a reaction panicked at an event");
                self.open(event, Opening::unclear(id));
                self.leave_open(id, &format!("its event at position {position} panicked: {panic}"));
            }
        }
    }

    /// Loads the work that is open at the checkpoint.
    async fn load(&mut self) -> Result<(), StoreError> {
        let (mut items, mut unclear) = (Vec::new(), BTreeMap::new());
        open_work::load(&*self.store, self.progress.id(), |work| match open_work::details(&work) {
            Some(details) => items.push((work, details)),
            None => drop(unclear.insert(work.position, work)),
        })
        .await?;
        items.extend(self.clarify(unclear).await?);
        // By position, so that the first item of each lane decides when the lane starts.
        items.sort_unstable_by_key(|(work, _)| work.position);
        let (now, at) = (Instant::now(), self.clock.now());
        for (work, Details { destination, .. }) in items {
            let OpenWork { id, key, position, due_at, attempts, .. } = work;
            let pause = Duration::try_from(due_at - at).unwrap_or_default();
            // An item that was never tried is not postponed, whatever the clocks say.
            let due = now + pause.min(self.reaction.longest_pause());
            let due = (attempts > 0).then_some(due).filter(|due| *due > now);
            self.queue.restore(&id, &key, destination, position, attempts, due);
        }
        Ok(())
    }

    /// Reads the events of items again that the release which opened them did not understand.
    async fn clarify(
        &mut self,
        mut unclear: BTreeMap<GlobalPosition, OpenWork>,
    ) -> Result<Vec<(OpenWork, Details)>, StoreError> {
        let positions: Vec<_> = unclear.keys().copied().collect();
        let mut items = Vec::new();
        open_work::read_events(&*self.store, &positions, |event| {
            let Some(work) = unclear.remove(&event.position) else { return };
            let meaning = guarded(|| self.reaction.meaning(&event));
            let Ok(Meaning::Opens(opening)) = meaning else {
                // Its work looks at the whole stream, and finds out whether anything is left to do.
                return items.push((work, Details::default()));
            };
            let details = opening.details.clone();
            let known = opened(&event, opening, work.attempts);
            if !details.is_unclear {
                self.changes.replace(known.clone());
            }
            items.push((known, details));
        })
        .await?;
        Ok(items)
    }

    /// Saves when `checkpoint_after` is over, or at once if there are many changes.
    fn save_soon(&mut self) {
        let now = Instant::now();
        if self.changes.len() >= SAVE_AT {
            self.save_at = Some(now);
        }
        self.save_at.get_or_insert(now + self.pacing.checkpoint_after);
    }

    /// Saves how far the log is read, and what was opened, postponed and closed meanwhile.
    async fn save(&mut self) -> Result<(), StoreError> {
        self.save_at = None;
        let work = self.changes.take();
        if self.reached.position <= self.checkpoints.saved().position && work.is_empty() {
            return Ok(());
        }
        let mut draft = self.checkpoints.update(self.reached, Vec::new()).with_work(work);
        let update = draft.build(&*self.store).await?;
        crate::failpoints::point("later.before_checkpoint");
        let batch = DocumentBatch { documents: Vec::new(), deleted: Vec::new(), update };
        // If this fails, the term ends, and the next one continues from what is stored. So the
        // changes are not needed again.
        self.store.save_documents(batch).await?;
        crate::failpoints::point("later.after_checkpoint");
        self.checkpoints.is_saved(draft.to());
        self.progress.committed(draft.to().position);
        self.progress.count_save();
        Ok(())
    }
}

/// The item that this event opens.
fn opened(event: &RecordedEvent, opening: Opening, attempts: u32) -> OpenWork {
    OpenWork {
        id: event.stream.id().to_owned(),
        key: opening.lane,
        position: event.position,
        due_at: event.recorded_at,
        attempts,
        reason: None,
        command_key: opening.command_key,
        // Texts and flags are always JSON.
        body: serde_json::to_string(&opening.details).unwrap_or_default(),
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
        self.reached = self.checkpoints.saved();
        self.queue = WorkQueue::new(R::LIMITS);
        self.changes = WorkChanges::default();
        self.save_at = None;
        // Before the head, so that whatever closed an item that is loaded is read before it starts.
        self.load().await?;
        if self.changes.len() > 0 {
            self.save_soon();
        }
        self.begins_at = self.store.head().await?;
        Ok(())
    }

    fn plan(&mut self, until: Option<Instant>, _is_at_tail: bool) -> Plan {
        self.start_work(until);
        let now = Instant::now();
        let next = self.queue.next_due(now).filter(|_| self.is_at_its_beginning());
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
        let reached = self.reached.position;
        // A page of the tail may begin before the place from which this subscription continues.
        let followed = page.events.iter().filter(|event| {
            event.position > reached && event.stream.aggregate_type() == R::FOLLOWS
        });
        for event in followed {
            self.take(event);
        }
        self.reached = Reached::end_of(page);
        self.save_soon();
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
        self.reached.position
    }

    async fn ended(&mut self) {
        // Aborted, because another process may perform the same work from here on.
        self.running = JoinSet::new();
        // What stays open is the next owner's to report.
        self.progress.parked(0);
    }
}
