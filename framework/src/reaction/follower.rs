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

use tokio::time::{Instant, timeout};

use super::open_work;
use super::performer::{Performer, Starts};
use super::{Details, Meaning, Opening, Reaction};
use crate::catch_panic::guarded;
use crate::clock::Clock;
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::partition::{
    CheckpointWriter, End, Follower, LeaseGrant, LeaseSession, NextPage, Pacing, PartitionProgress,
    Plan, Reached,
};
use crate::spans;
use crate::store::contract::{Checkpoint, DocumentBatch, Filter, OpenWork, Page, Store};

/// A reaction, and the memory of its current term.
pub(crate) struct ReactionFollower<R> {
    reaction: Arc<R>,
    store: Arc<dyn Store>,
    progress: Arc<PartitionProgress>,
    pacing: Pacing,
    checkpoints: CheckpointWriter,
    /// The log is read up to here.
    reached: Reached,
    /// No work starts before this position is reached.
    begins_at: GlobalPosition,
    work: Performer<()>,
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
        let work = Performer::new(R::LIMITS, clock, Arc::clone(&progress), pacing.clone());
        Self {
            reaction: Arc::new(reaction),
            store,
            checkpoints: CheckpointWriter::new(id, LeaseGrant::void(), None),
            progress,
            pacing,
            reached: Reached::of(None),
            begins_at: GlobalPosition::ZERO,
            work,
        }
    }

    /// Checks that everything is read that a former owner may have done.
    fn is_at_its_beginning(&self) -> bool {
        self.reached.position >= self.begins_at
    }

    fn open(&mut self, event: &RecordedEvent, opening: Opening) {
        let (destination, starts) = (opening.details.destination.clone(), opening.details.starts());
        self.work.open(opened(event, opening, 0), (destination, ()), starts);
    }

    fn take(&mut self, event: &RecordedEvent) {
        let id = event.stream.id();
        match guarded(|| self.reaction.meaning(event)) {
            Ok(Meaning::Opens(opening)) => self.open(event, opening),
            Ok(Meaning::Closes) => self.work.close(id),
            Ok(Meaning::Nothing) => {}
            // Nobody knows what the event means, so the command counts as open, in a lane of its
            // own: its work looks at the whole stream.
            Err(panic) => {
                let position = event.position;
                tracing::error!(command = id, %position, %panic, "a reaction panicked at an event");
                self.open(event, Opening::unclear(id));
                self.work
                    .leave_open(id, &format!("its event at position {position} panicked: {panic}"));
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
        // By position, so that the first item of each lane decides when the lane starts. Then what waits
        // for a time, which was loaded in that order: so the oldest starts first.
        items.sort_by_key(|(work, details)| match details.starts() {
            Starts::AtOnce => work.position,
            Starts::WhenDue => GlobalPosition(u64::MAX),
        });
        for (work, details) in items {
            let (starts, longest_pause) = (details.starts(), self.reaction.longest_pause());
            self.work.restore(&work, (details.destination, ()), starts, longest_pause);
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
                self.work.replace(known.clone());
            }
            items.push((known, details));
        })
        .await?;
        Ok(items)
    }

    /// Saves how far the log is read, and what was opened, postponed and closed meanwhile.
    async fn save(&mut self) -> Result<(), StoreError> {
        let work = self.work.take_changes();
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
        due_at: opening.due_at.unwrap_or(event.recorded_at),
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
        self.work.begin();
        // Before the head, so that whatever closed an item that is loaded is read before it starts.
        self.load().await?;
        self.begins_at = self.store.head().await?;
        Ok(())
    }

    fn plan(&mut self, until: Option<Instant>, _is_at_tail: bool) -> Plan {
        let may_start = self.is_at_its_beginning();
        if may_start {
            let reaction = &self.reaction;
            self.work.start(until, |id, (), until| {
                let (span, reaction) = (spans::reaction(R::NAME, &id), Arc::clone(reaction));
                (span, async move { reaction.work(&id, until).await })
            });
        }
        let next = self.work.next_start().filter(|_| may_start);
        Plan {
            due: [next, self.work.save_at()].into_iter().flatten().min(),
            next_page: NextPage::Now,
            page_events: usize::MAX,
        }
    }

    async fn work(&mut self) -> Result<ControlFlow<End>, StoreError> {
        self.work.settle_next().await;
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
        self.progress.applied(self.reached.position);
        self.work.save_soon();
        Ok(ControlFlow::Continue(()))
    }

    async fn do_due(&mut self) -> Result<(), StoreError> {
        match self.work.save_at().is_some_and(|at| at <= Instant::now()) {
            true => self.save().await,
            false => Ok(()), // `plan` starts what is due
        }
    }

    async fn save_for_reader(&mut self) -> Result<(), StoreError> {
        Ok(()) // no reader waits for a reaction
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        // The next owner finds out the outcome of work that is still running then.
        let _ = timeout(self.pacing.finish_within, self.work.settle_all()).await;
        self.save().await
    }

    fn wants_to_step_aside(&self) -> bool {
        self.work.unable() > 0
    }

    fn reached(&self) -> GlobalPosition {
        self.reached.position
    }

    async fn ended(&mut self) {
        self.work.end();
    }
}
