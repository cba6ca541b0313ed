//! Parked keys on their way back: tried when they are due or somebody asks, one at a time.
//!
//! What waits of a key is read and applied beside the folding of the others, some of it at a time; what
//! arrives meanwhile waits behind it. Where the key then stands is saved with the document, as one.

use std::sync::Arc;
use std::time::Instant;

use actix::Context;
use tracing::warn;

use super::actor::ReadModelActor;
use super::fold::apply;
use super::retry::Retry;
use super::save::{self, Loaded};
use crate::checkpoint::PartitionId;
use crate::document::Store;
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::read_model::ReadModel;
use crate::stream::GlobalPosition;
use crate::subscription::parking::{Drain, Stopped, in_words};

/// The document, if it was to be loaded, and the events.
type Waiting = Result<(Option<Loaded>, Vec<Arc<RecordedEvent>>), StoreError>;

impl<M: ReadModel> ReadModelActor<M> {
    /// Tries a key that is due, if no other is being tried.
    pub(super) fn drain_if_due(&mut self, ctx: &mut Context<Self>) {
        if self.term.lease.is_none() || !self.is_following() {
            return;
        }
        while let Some(drain) = self.term.parking.begin(Instant::now()) {
            if !drain.positions.is_empty() {
                return self.load_drain(drain, ctx);
            }
            self.term.parking.end(drain, 0, None, Instant::now(), self.clock.now());
            self.term.unsaved_since.get_or_insert_with(Instant::now);
        }
    }

    fn load_drain(&mut self, drain: Drain, ctx: &mut Context<Self>) {
        // In memory or not, nobody else changes it, and there it stays.
        self.term.documents.pin(Some(drain.key.clone()));
        let cold: Vec<_> = match self.term.documents.is_cold(&drain.key) {
            true => vec![drain.key.clone()],
            false => Vec::new(),
        };
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let (retry, positions) = (self.retry(), drain.positions.clone());
        let load = async move {
            let document = match cold.is_empty() {
                true => None,
                false => Some(save::load(&*store, &partition, &cold, retry.clone()).await?),
            };
            let events = events_at(&*store, &partition, &positions, retry).await?;
            Ok((document, events))
        };
        self.beside(ctx, load, move |loaded, act, ctx| act.drain(drain, loaded, ctx));
    }

    fn drain(&mut self, drain: Drain, waiting: Waiting, ctx: &mut Context<Self>) {
        if !self.is_following() {
            return;
        }
        let at = drain.positions.first().copied().unwrap_or_default();
        let events = waiting.and_then(|(document, events)| {
            document.map_or(Ok(()), |document| self.warm(document)).map(|()| events)
        });
        let events = match events {
            Ok(events) => events,
            Err(fault) => return self.fail(at, fault, ctx),
        };
        let may_apply = self.term.parking.may_apply(&drain);
        let mut applied = 0;
        let stopped = events.iter().find_map(|event| {
            let reason = match applied < may_apply {
                true => self.apply_waiting(&drain.key, event).err(),
                false => None,
            };
            if applied < may_apply && reason.is_none() {
                applied += 1;
                return None;
            }
            Some(Stopped { event: in_words(event), reason })
        });
        self.progress.work.applied(applied);
        self.term.parking.end(drain, applied, stopped, Instant::now(), self.clock.now());
        self.term.unsaved_since.get_or_insert_with(Instant::now);
        self.term.documents.pin(None);
        self.term.evict();
        self.save_if_due(ctx);
        if !self.term.is_saving && std::mem::take(&mut self.term.is_paused) {
            self.pull(ctx);
        }
        self.drain_if_due(ctx);
    }

    fn apply_waiting(&mut self, key: &str, event: &Arc<RecordedEvent>) -> Result<(), String> {
        match self.sources.routes.route_parked(event, key)? {
            Some(change) => apply(&mut self.term.documents, key, Ok(change)),
            None => Ok(()),
        }
    }

    /// Looks what was asked for parked keys, from whatever process.
    pub(super) fn look_for_requests(&mut self, ctx: &mut Context<Self>) {
        if self.term.lease.is_none() || self.term.parking.is_empty() || !self.is_following() {
            return;
        }
        self.term.asked_at = Instant::now();
        let saved_so_far = self.term.parking.saved_so_far();
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let asking = async move { store.load_requests(&partition.model).await };
        self.beside(ctx, asking, move |asked, act, ctx| {
            // If the store did not answer, the next look will tell.
            for (key, position, request) in asked.unwrap_or_default() {
                let now = Instant::now();
                act.term.parking.request((&key, position), request, saved_so_far, now);
            }
            act.drain_if_due(ctx);
        });
    }
}

/// The events at these positions, however often the store must be asked.
async fn events_at(
    store: &dyn Store,
    partition: &PartitionId,
    positions: &[GlobalPosition],
    mut retry: Retry,
) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
    let events = loop {
        match store.read_positions(positions).await {
            Ok(events) => break events,
            Err(error) => retry.after(error).await?,
        }
    };
    let are_all = events.iter().map(|event| event.position).eq(positions.iter().copied());
    if !are_all {
        let missing = positions.iter().find(|at| events.iter().all(|e| e.position != **at));
        let place = format!("position {}", missing.copied().unwrap_or_default());
        let reason = format!("an event that is parked in {partition} is not in the log any more");
        warn!(%place, %reason, "the log has lost an event");
        return Err(StoreError::Corrupt { place, reason });
    }
    Ok(events)
}
