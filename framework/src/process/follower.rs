//! One partition of a process manager: pages of the log are folded into instances, and what the instances
//! put out is performed.
//!
//! Commands are sent before the instances are saved: their ids follow from the log, so a process that
//! folds the same events again sends the same commands under the same keys, and each takes effect once.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant as StdInstant;

use tokio::time::{Instant, timeout};
use tracing::error;

use super::ProcessManager;
use super::instance::{Instance, Job, Out};
use super::perform::Dispatcher;
use crate::clock::Clock;
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::partition::parking::{Listing, Parking, read_unlisted, read_waiting};
use crate::partition::{
    CheckpointWriter, End, Follower, LeaseGrant, LeaseSession, NextPage, Pacing, PartitionProgress,
    Plan, Reached,
};
use crate::reaction::Destination;
use crate::reaction::open_work;
use crate::reaction::performer::{Performer, Starts};
use crate::reaction::start_position::resume;
use crate::reaction::work_queue::Limits;
use crate::read_model::{Changes, Folder, ReadModel};
use crate::spans;
use crate::store::contract::{Checkpoint, DocumentBatch, Filter, Page, ParkedQuery, Store};

/// Limits on the work that runs at a time.
const LIMITS: Limits = Limits::only(256);

/// Number of open items that can start from which on no page is read.
const MOST_OPEN: usize = 4_000;

/// Open items from which on work starts before the end of the log is reached.
const MANY_OPEN: usize = 1_000;

/// Bytes of open items from which on no page is read.
const MOST_BYTES: usize = 16 << 20;

/// One partition of a process manager, and the memory of its current term.
pub(crate) struct ProcessFollower<P: ProcessManager> {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    progress: Arc<PartitionProgress>,
    pacing: Pacing,
    dispatcher: Arc<Dispatcher>,
    /// Position after which a process manager without a checkpoint starts.
    starts_after: GlobalPosition,
    checkpoints: CheckpointWriter,
    folder: Folder<Instance<P>>,
    work: Performer<Arc<Job>>,
    /// No work starts before this position is folded, unless much is open: what a former owner has done is
    /// known then.
    begins_at: GlobalPosition,
    /// Time of the next look at parked keys.
    look_at: Instant,
    /// Time of the next look at requests.
    requests_at: Instant,
    /// Reason why nothing after a position can be folded, found out while saving.
    halts: Option<(GlobalPosition, String)>,
}

impl<P: ProcessManager> ProcessFollower<P> {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        progress: Arc<PartitionProgress>,
        pacing: Pacing,
        dispatcher: Arc<Dispatcher>,
        starts_after: GlobalPosition,
    ) -> Self {
        let id = progress.id().clone();
        let number = id.number;
        let work =
            Performer::new(LIMITS, Arc::clone(&clock), Arc::clone(&progress), pacing.clone());
        Self {
            store: Arc::clone(&dispatcher.store),
            clock,
            checkpoints: CheckpointWriter::new(id, LeaseGrant::void(), None),
            folder: Folder::standby(number, P::PARTITIONS, Reached::of(None)),
            progress,
            pacing,
            dispatcher,
            starts_after,
            work,
            begins_at: GlobalPosition::ZERO,
            look_at: Instant::now(),
            requests_at: Instant::now(),
            halts: None,
        }
    }

    fn is_at_its_beginning(&self) -> bool {
        self.folder.reached() >= self.begins_at
    }

    /// Loads the work that is open at the checkpoint.
    async fn load(&mut self) -> Result<(), StoreError> {
        let (mut commands, mut deadlines) = (Vec::new(), Vec::new());
        open_work::load(&*self.store, self.progress.id(), |work| {
            match serde_json::from_str::<Job>(&work.body) {
                Ok(job) if job.starts() == Starts::WhenDue => deadlines.push((work, job)),
                Ok(job) => commands.push((work, job)),
                // A later release wrote it. It stays stored for that one.
                Err(error) => self.work.leave_out(&work.id, &error.to_string()),
            }
        })
        .await?;
        commands.sort_unstable_by_key(|(work, _)| work.position);
        // Pages come in the order of due times, so what was due while nothing ran starts oldest first.
        for (work, job) in commands.into_iter().chain(deadlines) {
            let (starts, longest) = (job.starts(), self.pacing.unable_delay);
            self.work.restore(&work, (Destination::default(), Arc::new(job)), starts, longest);
        }
        Ok(())
    }

    /// Takes what the folds of these keys have put out.
    fn take_outboxes(&mut self, keys: &[String]) {
        for key in keys {
            let outbox = self.folder.change(key, |instance| std::mem::take(&mut instance.outbox));
            for out in outbox.unwrap_or_default() {
                match out {
                    Out::Open(work, starts, job) => {
                        self.work.open(*work, (Destination::default(), job), starts);
                    }
                    Out::Close(step) => self.work.close(&step),
                }
            }
        }
    }

    async fn warm(&mut self, keys: Vec<String>) -> Result<(), StoreError> {
        if !keys.is_empty() {
            let loaded = self.store.load_documents(self.progress.id(), &keys).await?;
            self.folder.warm(loaded.documents);
        }
        Ok(())
    }

    /// Saves instances, open work, parked keys and the checkpoint, as far as any of them changed.
    async fn save(&mut self) -> Result<ControlFlow<End>, StoreError> {
        let (now, at) = (StdInstant::now(), self.clock.now());
        let to = self.folder.reached_at();
        let changes = match self.folder.hand_out(now, at) {
            Ok(changes) => changes,
            Err(full) => return Ok(halted(to.position, full.to_string())),
        };
        let Changes { documents, deleted, unstorable, parked } = changes;
        for unfit in &unstorable {
            error!(partition = %self.progress.id(), key = %unfit.key, reason = %unfit.reason, "an instance cannot be stored: its key is parked");
            self.progress.failed(format_args!("{:?} is parked: {}", unfit.key, unfit.reason));
        }
        let work = self.work.take_changes();
        let has_moved = to.position > self.checkpoints.saved().position;
        if !has_moved && documents.is_empty() && parked.is_empty() && work.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let mut draft = self.checkpoints.update(to, parked).with_work(work);
        let update = draft.build(&*self.store).await?;
        crate::failpoints::point("process.before_checkpoint");
        // If this fails, the term ends, and the next one continues from what is stored.
        self.store.save_documents(DocumentBatch { documents, deleted, update }).await?;
        crate::failpoints::point("process.after_checkpoint");
        self.checkpoints.is_saved(draft.to());
        self.folder.saved(self.pacing.hot_bytes, self.pacing.hot_documents);
        self.folder.evict();
        self.progress.committed(draft.to().position);
        self.progress.count_save();
        Ok(ControlFlow::Continue(()))
    }

    /// Takes up requests for parked keys, and tries the next key that is due.
    async fn look_at_parked(&mut self) -> Result<(), StoreError> {
        // Not at each key that is due: of many requests, each would read all others.
        if self.requests_at <= Instant::now() {
            self.requests_at = Instant::now() + self.pacing.requests_every;
            let saved_so_far = self.folder.parking().saved_so_far();
            let model = &self.progress.id().model;
            let requested = self.store.load_parked(model, &ParkedQuery::requested()).await?.keys;
            let parking = self.folder.parking();
            parking.take_requests(requested, saved_so_far, StdInstant::now());
        }
        match self.folder.parking().begin_listing(StdInstant::now()) {
            Some(listing) => self.list_waiting(listing).await?,
            None => self.try_again().await?,
        }
        let is_due = self.folder.parking().is_due(StdInstant::now());
        self.look_at = if is_due { Instant::now() } else { self.requests_at };
        Ok(())
    }

    /// Lists the next events of a key, which are read from the log again.
    async fn list_waiting(&mut self, listing: Listing) -> Result<(), StoreError> {
        let page = read_unlisted(&*self.store, &self.filter(), &listing).await?;
        self.folder.end_listing(listing, &page, StdInstant::now());
        self.work.save_soon();
        Ok(())
    }

    /// Folds the events of a parked key that is due.
    async fn try_again(&mut self) -> Result<(), StoreError> {
        let (now, at) = (StdInstant::now(), self.clock.now());
        let Some(mut drain) = self.folder.parking().begin(now) else { return Ok(()) };
        let key = drain.key.clone();
        let mut events: Vec<Arc<RecordedEvent>> = Vec::new();
        if !drain.positions.is_empty() {
            events = read_waiting(&*self.store, &mut drain).await?;
            let cold = self.folder.is_cold(&key).then(|| key.clone());
            self.warm(cold.into_iter().collect()).await?;
        }
        let applied = self.folder.drain(drain, &events, now, at);
        self.take_outboxes(&[key]);
        self.progress.count_events(applied);
        self.work.set_parked(self.folder.parking().len());
        self.work.save_soon();
        Ok(())
    }
}

fn halted(position: GlobalPosition, reason: String) -> ControlFlow<End> {
    ControlFlow::Break(End::Halted { position, reason })
}

impl<P: ProcessManager> Follower for ProcessFollower<P> {
    fn filter(&self) -> Filter {
        Instance::<P>::sources().routes.filter()
    }

    async fn load_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.store.load_checkpoint(self.progress.id()).await
    }

    async fn resume(&mut self, session: &LeaseSession) -> Result<Option<Checkpoint>, StoreError> {
        resume(&*self.store, self.progress.id(), session, self.starts_after).await
    }

    async fn begin(
        &mut self,
        session: &LeaseSession,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), StoreError> {
        let id = self.progress.id().clone();
        let parked = self.store.load_parked(&id.model, &ParkedQuery::default()).await?.keys;
        let (settings, now) = (self.pacing.parking.clone(), StdInstant::now());
        let parking = Parking::resume(id.number, settings, parked, now);
        let reached = Reached::of(checkpoint);
        self.checkpoints = CheckpointWriter::new(id, session.grant().clone(), checkpoint);
        self.folder.begin(reached, self.pacing.hot_documents, checkpoint.is_none(), parking);
        self.work.set_parked(self.folder.parking().len());
        self.halts = None;
        (self.look_at, self.requests_at) = (Instant::now(), Instant::now());
        self.work.begin();
        self.load().await?;
        self.begins_at = self.store.head().await?;
        Ok(())
    }

    fn plan(&mut self, until: Option<Instant>, _is_at_tail: bool) -> Plan {
        let (open, bytes) = self.work.open_now();
        // What a former owner has done is recognised by its key. So starting too early costs some
        // commands, and starting too late would hold all of a long log in memory.
        if open >= MANY_OPEN || bytes >= MOST_BYTES {
            self.begins_at = GlobalPosition::ZERO;
        }
        let may_start = self.is_at_its_beginning();
        if may_start {
            let dispatcher = &self.dispatcher;
            self.work.start(until, |id, job, until| {
                let (span, dispatcher) = (spans::reaction(P::NAME, &id), Arc::clone(dispatcher));
                (span, async move { dispatcher.perform::<P>(&id, &job, until).await })
            });
        }
        let next = self.work.next_start().filter(|_| may_start);
        let parked = (!self.folder.parking().is_empty()).then_some(self.look_at);
        let waits = self.folder.parking().is_crowded()
            || open >= MOST_OPEN
            || bytes >= MOST_BYTES
            || self.folder.changed() >= self.pacing.most_unsaved;
        Plan {
            due: [next, self.work.save_at(), parked].into_iter().flatten().min(),
            next_page: if waits { NextPage::NotYet } else { NextPage::Now },
            page_events: self.folder.page_events(self.pacing.save_bytes),
        }
    }

    async fn work(&mut self) -> Result<ControlFlow<End>, StoreError> {
        if let Some((position, reason)) = self.halts.take() {
            return Ok(halted(position, reason));
        }
        self.work.settle_next().await;
        Ok(ControlFlow::Continue(()))
    }

    async fn apply(&mut self, page: &Arc<Page>) -> Result<ControlFlow<End>, StoreError> {
        let page = self.folder.decode(Arc::clone(page));
        let keys = page.keys();
        let cold = self.folder.cold_keys(&page);
        self.warm(cold).await?;
        let (now, at, sample) = (StdInstant::now(), self.clock.now(), self.pacing.save_bytes);
        let folded = self.folder.fold(page, sample, now, at);
        if folded.has_parked {
            self.progress.failed("an event cannot be folded: its key is parked");
        }
        self.take_outboxes(&keys);
        self.progress.count_events(folded.events);
        self.progress.applied(self.folder.reached());
        self.work.set_parked(self.folder.parking().len());
        self.work.save_soon();
        if let Some(poison) = folded.poison {
            return match self.save().await? {
                ControlFlow::Continue(()) => Ok(halted(poison.position, poison.reason)),
                full => Ok(full),
            };
        }
        if self.folder.changed() >= self.pacing.save_at {
            return self.save().await;
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn do_due(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        if self.work.save_at().is_some_and(|at| at <= now)
            && let ControlFlow::Break(End::Halted { position, reason }) = self.save().await?
        {
            self.halts = Some((position, reason));
        }
        if !self.folder.parking().is_empty() && self.look_at <= now {
            self.look_at_parked().await?;
        }
        Ok(())
    }

    async fn save_for_reader(&mut self) -> Result<(), StoreError> {
        Ok(()) // no reader waits for a process manager
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        // The next owner finds out the outcome of work that is still running then.
        let _ = timeout(self.pacing.finish_within, self.work.settle_all()).await;
        self.save().await.map(drop)
    }

    fn wants_to_step_aside(&self) -> bool {
        self.work.unable() > 0
    }

    fn reached(&self) -> GlobalPosition {
        self.folder.reached()
    }

    async fn ended(&mut self) {
        self.work.end();
    }
}
