//! The performer: starts the open work of one partition when it is due, and gathers what changed for
//! the next save.
//!
//! Work that waits for a time is kept apart from the queue until its time has come. One timer
//! is set, for the first of these times. Clocks jump, so a long wait looks at the clock now and then.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::open_work::WorkChanges;
use super::work_queue::{Limits, WorkQueue};
use super::{Destination, Step, Worked};
use crate::catch_panic::guarded_async;
use crate::clock::Clock;
use crate::event::GlobalPosition;
use crate::partition::{Pacing, PartitionProgress};
use crate::store::contract::{OpenWork, WorkChange};

/// Delay before the next look at the queue while the lease is not surely held: it is renewed or lost
/// soon.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Longest wait for a time of the clock without a look at it, because the clock may be set.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);

/// Number of unsaved changes that are saved without waiting. It bounds the size of a save.
const SAVE_AT: usize = 1_000;

/// When an item starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starts {
    /// As soon as it has a place, whatever the clocks say.
    AtOnce,
    /// When the clock shows its due time.
    WhenDue,
}

/// Open work of one partition, each item with a `T` that says what to do, and the attempts that run.
pub(crate) struct Performer<T> {
    clock: Arc<dyn Clock>,
    progress: Arc<PartitionProgress>,
    pacing: Pacing,
    limits: Limits,
    queue: WorkQueue,
    items: HashMap<String, Item<T>>,
    /// Bytes of the items that start at once.
    bytes: usize,
    /// Number of keys that are parked beside the open work.
    parked: usize,
    /// Number of stored items that this release cannot read. They are not in the queue.
    left_out: usize,
    /// Items whose time has not come.
    later: BTreeMap<(OffsetDateTime, String), Later>,
    /// Due times of the items in `later`, by id.
    due: HashMap<String, OffsetDateTime>,
    changes: WorkChanges,
    running: JoinSet<(String, Worked)>,
    save_at: Option<Instant>,
}

struct Item<T> {
    job: T,
    /// Bytes that it counts, 0 while it waits for its time.
    bytes: usize,
}

/// An item whose time has not come.
struct Later {
    lane: String,
    destination: Destination,
    position: GlobalPosition,
    attempts: u32,
}

impl<T: Clone> Performer<T> {
    pub(crate) fn new(
        limits: Limits,
        clock: Arc<dyn Clock>,
        progress: Arc<PartitionProgress>,
        pacing: Pacing,
    ) -> Self {
        Self {
            clock,
            progress,
            pacing,
            limits,
            queue: WorkQueue::new(limits),
            items: HashMap::new(),
            bytes: 0,
            parked: 0,
            left_out: 0,
            later: BTreeMap::new(),
            due: HashMap::new(),
            changes: WorkChanges::default(),
            running: JoinSet::new(),
            save_at: None,
        }
    }

    /// Begins a term: nothing of an earlier one counts.
    pub(crate) fn begin(&mut self) {
        self.queue = WorkQueue::new(self.limits);
        (self.later, self.due, self.items) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        (self.bytes, self.left_out) = (0, 0);
        self.changes = WorkChanges::default();
        self.save_at = None;
    }

    /// Ends a term.
    pub(crate) fn end(&mut self) {
        // Aborted, because another process may perform the same work from here on.
        self.running = JoinSet::new();
        // What stays open is the next owner's to report.
        self.progress.parked(0);
    }

    /// Number of items that this release cannot perform.
    pub(crate) fn unable(&self) -> usize {
        self.queue.unable() + self.left_out
    }

    /// Number of items that have started or can start, and their bytes.
    pub(crate) fn open_now(&self) -> (usize, usize) {
        (self.items.len() - self.later.len(), self.bytes)
    }

    /// Sets the number of keys that are parked beside the open work.
    pub(crate) fn set_parked(&mut self, keys: usize) {
        self.parked = keys;
        self.show_parked();
    }

    fn show_open(&self) {
        let next_due = self.later.first_key_value().map(|((due_at, _), _)| *due_at);
        self.progress.set_open(self.open_now().0, next_due);
    }

    fn show_parked(&self) {
        self.progress.parked(self.parked + self.unable());
    }

    /// Opens an item that the store does not have. Opening it twice is opening it once.
    pub(crate) fn open(&mut self, work: OpenWork, what: (Destination, T), starts: Starts) {
        if self.items.contains_key(&work.id) {
            return;
        }
        self.place(&work, what, starts, None);
        self.show_open();
        self.changes.open(work);
        self.save_soon();
    }

    /// Takes in an item that the store has. Items are restored by position, so that the first one of
    /// each lane decides when the lane starts.
    pub(crate) fn restore(
        &mut self,
        work: &OpenWork,
        what: (Destination, T),
        starts: Starts,
        longest_pause: Duration,
    ) {
        let pause = Duration::try_from(work.due_at - self.clock.now()).unwrap_or_default();
        let now = Instant::now();
        // A stored pause that is longer was written before the clock was set back.
        let due = now + pause.min(longest_pause);
        // An item that was never tried is not postponed, whatever the clocks say.
        let due = (work.attempts > 0).then_some(due).filter(|due| *due > now);
        self.place(work, what, starts, due);
        self.show_open();
    }

    /// Leaves out a stored item that this release cannot read: it stays stored for one that can.
    pub(crate) fn leave_out(&mut self, id: &str, reason: &str) {
        tracing::error!(work = id, reason, "work stays open: run a release that knows it");
        self.left_out += 1;
        self.progress.failed(format!("{id} stays open: {reason}"));
        self.show_parked();
    }

    fn place(
        &mut self,
        work: &OpenWork,
        (destination, job): (Destination, T),
        starts: Starts,
        due: Option<Instant>,
    ) {
        let OpenWork { id, key, position, due_at, attempts, .. } = work;
        let waits = starts == Starts::WhenDue && *due_at > self.clock.now();
        // What waits is many and small, and bounding it would stop the follower for as long as it waits.
        let bytes = if waits { 0 } else { work.bytes() };
        self.items.insert(id.clone(), Item { job, bytes });
        self.bytes += bytes;
        if waits {
            let (lane, position, attempts) = (key.clone(), *position, *attempts);
            self.due.insert(id.clone(), *due_at);
            let later = Later { lane, destination, position, attempts };
            self.later.insert((*due_at, id.clone()), later);
            return;
        }
        self.queue.open(id, key, destination, *position, *attempts, due);
    }

    /// Replaces an item that the store has, before it is restored.
    pub(crate) fn replace(&mut self, work: OpenWork) {
        self.changes.replace(work);
        self.save_soon();
    }

    /// Closes an item, unless it is closed: then nothing is left to save.
    pub(crate) fn close(&mut self, id: &str) {
        let Some(item) = self.items.remove(id) else { return };
        self.bytes -= item.bytes;
        if let Some(due_at) = self.due.remove(id) {
            self.later.remove(&(due_at, id.to_owned()));
        }
        self.queue.close(id);
        self.changes.close(id);
        self.show_open();
        self.show_parked();
        self.save_soon();
    }

    /// Starts the work that is due, as long as the lease is surely held. `perform` makes the span and
    /// the future of one attempt.
    pub(crate) fn start<F: Future<Output = Worked> + Send + 'static>(
        &mut self,
        until: Option<Instant>,
        perform: impl Fn(String, T, Instant) -> (Span, F),
    ) {
        let now = Instant::now();
        let Some(until) = until.filter(|until| *until > now) else { return };
        self.queue_what_is_due();
        while let Some(id) = self.queue.next(now) {
            let Some(item) = self.items.get(&id) else { continue };
            let (span, worked) = perform(id.clone(), item.job.clone(), until);
            let work = async move {
                let worked = guarded_async(worked).await.unwrap_or_else(|panic| {
                    tracing::error!(work = %id, %panic, "open work panicked; it is tried again");
                    Step::Again(None).into()
                });
                (id, worked)
            };
            self.running.spawn(work.instrument(span));
        }
    }

    fn queue_what_is_due(&mut self) {
        let now = self.clock.now();
        while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, id), Later { lane, destination, position, attempts }) = first.remove_entry();
            self.due.remove(&id);
            self.queue.open(&id, &lane, destination, position, attempts, None);
        }
        self.show_open();
    }

    /// Time of the next call of [`Performer::start`].
    pub(crate) fn next_start(&self) -> Option<Instant> {
        let now = Instant::now();
        let waits = self.later.first_key_value().map(|((due_at, _), _)| {
            let wait = Duration::try_from(*due_at - self.clock.now()).unwrap_or_default();
            now + wait.min(LOOK_AT_CLOCK)
        });
        let next = [self.queue.next_due(now), waits].into_iter().flatten().min();
        // Work may be due while the lease is not surely held. Without this delay the driver would
        // spin until it is.
        next.map(|due| due.max(now + LOOK_AGAIN))
    }

    /// Waits until an attempt ends, and keeps its result, or until a clock that is moved by hand makes an
    /// item due. Nothing is lost if it is dropped.
    pub(crate) async fn settle_next(&mut self) {
        let first = self.later.first_key_value().map(|((due_at, _), _)| *due_at);
        let clock = Arc::clone(&self.clock);
        let is_due = async {
            match first {
                Some(due_at) => clock.is_moved_to(due_at).await,
                None => std::future::pending().await,
            }
            // It stays due until the lease is held, and the driver must not spin meanwhile.
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        tokio::select! {
            Some(done) = self.running.join_next() => {
                // Only a runtime that ends drops a task; the next owner continues.
                if let Ok((id, worked)) = done {
                    self.settle(&id, worked);
                }
            }
            () = is_due => {}
        }
    }

    /// Waits until no attempt runs.
    pub(crate) async fn settle_all(&mut self) {
        while !self.running.is_empty() {
            self.settle_next().await;
        }
    }

    fn settle(&mut self, id: &str, Worked { step, health }: Worked) {
        let now = Instant::now();
        self.queue.finished(id, health, now);
        let (pause, reason) = match step {
            Step::Done => {
                self.progress.count_events(1);
                return self.close(id);
            }
            Step::Again(pause) => (pause, None),
            Step::Unable(reason) => {
                self.leave_open(id, &reason);
                (Some(self.pacing.unable_delay), Some(reason))
            }
        };
        if let Some((attempts, pause)) = self.queue.again(id, pause, now) {
            // The next owner may be a release that can do it, so it tries at once.
            let pause = if reason.is_none() { pause } else { Duration::ZERO };
            let now = self.clock.now();
            let due_at = pause.try_into().ok().and_then(|pause| now.checked_add(pause));
            self.changes.again(id, due_at.unwrap_or(now), attempts, reason);
            self.save_soon();
        }
    }

    /// Makes work visible that this release cannot perform: in the log, the status and the metrics.
    pub(crate) fn leave_open(&mut self, id: &str, reason: &str) {
        if self.queue.mark_unable(id) {
            tracing::error!(
                work = id,
                reason,
                "work stays open: run a release that knows it, or fail it"
            );
        }
        self.progress.failed(format!("{id} stays open: {reason}"));
        self.show_parked();
    }

    /// Saves when `checkpoint_after` is over, or at once if there are many changes.
    pub(crate) fn save_soon(&mut self) {
        let now = Instant::now();
        if self.changes.len() >= SAVE_AT {
            self.save_at = Some(now);
        }
        self.save_at.get_or_insert(now + self.pacing.checkpoint_after);
    }

    /// Time of the next save.
    pub(crate) fn save_at(&self) -> Option<Instant> {
        self.save_at
    }

    /// Takes all changes, to save them.
    pub(crate) fn take_changes(&mut self) -> Vec<WorkChange> {
        self.save_at = None;
        self.changes.take()
    }
}
