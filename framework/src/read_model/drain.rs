//! Parked keys on their way back: tried when they are due or somebody asks, one at a time.
//!
//! What waits of a key is read and applied beside the folding of the others, some of it at a time; what
//! arrives meanwhile waits behind it. Where the key then stands is saved with the document, as one.

use std::sync::Arc;
use std::time::Instant;

use actix::Context;

use super::actor::ReadModelActor;
use super::fold::apply;
use super::{ReadModel, save};
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::partition::parking::{Drain, Listing, Stopped, in_words, read_unlisted, read_waiting};
use crate::store::contract::DocumentsAt;

/// The document, if it was to be loaded, and the events.
type Waiting = (Option<DocumentsAt>, Vec<Arc<RecordedEvent>>);

impl<M: ReadModel> ReadModelActor<M> {
    /// Tries a key that is due, if no other is being tried.
    pub(super) fn drain_if_due(&mut self, ctx: &mut Context<Self>) {
        if self.term.session.is_none() || !self.is_following() {
            return;
        }
        if let Some(listing) = self.term.parking.begin_listing(Instant::now()) {
            return self.list_waiting(listing, ctx);
        }
        while let Some(drain) = self.term.parking.begin(Instant::now()) {
            if !drain.positions.is_empty() {
                return self.load_drain(drain, ctx);
            }
            self.term.parking.end(drain, 0, None, Instant::now(), self.clock.now());
            self.term.unsaved_since.get_or_insert_with(Instant::now);
        }
    }

    /// Lists the next events of a key, which are read from the log again, and then goes on.
    fn list_waiting(&mut self, listing: Listing, ctx: &mut Context<Self>) {
        let (store, mut retry) = (Arc::clone(&self.store), self.retry());
        let filter = super::owner::filter(&self.sources);
        let read = async move {
            loop {
                match read_unlisted(&*store, &filter, &listing).await {
                    Ok(page) => return Ok((listing, page)),
                    Err(error) => retry.after(error).await?,
                }
            }
        };
        self.beside(ctx, read, move |read: Result<_, StoreError>, act, ctx| match read {
            Ok((listing, page)) => {
                let routes = &act.sources.routes;
                let is_its = |event: &&Arc<RecordedEvent>| routes.concerns(event, &listing.key);
                let found = page.events.iter().filter(is_its).map(|event| event.position);
                let found: Vec<_> = found.collect();
                let reached = act.term.reached.position;
                let (parking, now) = (&mut act.term.parking, Instant::now());
                parking.end_listing(listing, &found, page.scanned_to, reached, now);
                act.term.unsaved_since.get_or_insert_with(Instant::now);
                act.drain_if_due(ctx);
            }
            Err(fault) if act.is_following() => act.fail(act.term.reached.position, fault, ctx),
            Err(_) => {}
        });
    }

    fn load_drain(&mut self, drain: Drain, ctx: &mut Context<Self>) {
        let at = drain.positions.first().copied().unwrap_or_default();
        // In memory or not, nobody else changes it, and there it stays.
        self.term.documents.pin(Some(drain.key.clone()));
        let cold: Vec<_> = match self.term.documents.is_cold(&drain.key) {
            true => vec![drain.key.clone()],
            false => Vec::new(),
        };
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let (mut retry, mut drain) = (self.retry(), drain);
        let load = async move {
            let document = match cold.is_empty() {
                true => None,
                false => Some(save::load(&*store, &partition, &cold, retry.clone()).await?),
            };
            loop {
                match read_waiting(&*store, &mut drain).await {
                    Ok(events) => return Ok((drain, (document, events))),
                    Err(error) => retry.after(error).await?,
                }
            }
        };
        self.beside(ctx, load, move |loaded, act, ctx| match loaded {
            Ok((drain, loaded)) => act.drain(drain, loaded, ctx),
            Err(fault) if act.is_following() => act.fail(at, fault, ctx),
            Err(_) => {}
        });
    }

    fn drain(&mut self, drain: Drain, (document, events): Waiting, ctx: &mut Context<Self>) {
        if !self.is_following() {
            return;
        }
        if !self.term.parking.is_current(&drain) {
            // A save has set the key back meanwhile: these events are not the next ones any more.
            self.term.parking.abandon(&drain);
            self.term.documents.pin(None);
            return self.drain_if_due(ctx);
        }
        if let Err(fault) = document.map_or(Ok(()), |document| self.warm(document)) {
            let at = drain.positions.first().copied().unwrap_or_default();
            return self.fail(at, fault, ctx);
        }
        let may_apply = self.term.parking.may_apply(&drain).min(events.len());
        let (applied, reason) = self.apply_all(&drain.key, &events[..may_apply]);
        let next = events.get(applied);
        let stopped = next.map(|next| Stopped { event: in_words(next), reason });
        self.progress.count_events(applied);
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

    /// Applies events in order, up to the first that cannot be applied or after which the document
    /// could not be stored. Returns how many were applied, and the reason why no more were.
    ///
    /// To serialise a large document after every event is expensive, so it is checked once at the
    /// end, and after each event only if that check fails.
    fn apply_all(&mut self, key: &str, events: &[Arc<RecordedEvent>]) -> (usize, Option<String>) {
        let before = match self.term.documents.backup(key) {
            Ok(before) => before,
            Err(reason) => return (0, Some(reason)),
        };
        let failed = |act: &mut Self, event| act.apply_waiting(key, event).err();
        let mut applied = 0;
        let reason = events.iter().find_map(|event| {
            let reason = failed(self, event);
            applied += usize::from(reason.is_none());
            reason
        });
        if self.term.documents.check(key).is_ok() {
            return (applied, reason);
        }
        self.term.documents.restore(key, before);
        applied = 0;
        let reason = events.iter().find_map(|event| {
            let reason = self.apply_checked(key, event).err();
            applied += usize::from(reason.is_none());
            reason
        });
        (applied, reason)
    }

    /// Applies one event, unless the document could not be stored after it.
    fn apply_checked(&mut self, key: &str, event: &Arc<RecordedEvent>) -> Result<(), String> {
        let before = self.term.documents.backup(key)?;
        self.apply_waiting(key, event)?;
        let storable = self.term.documents.check(key);
        if storable.is_err() {
            self.term.documents.restore(key, before);
        }
        storable
    }

    fn apply_waiting(&mut self, key: &str, event: &Arc<RecordedEvent>) -> Result<(), String> {
        let change = self.sources.routes.route_parked(event, key);
        apply(&mut self.term.documents, key, event.position, change)
    }

    /// Looks what was asked for parked keys, from whatever process.
    pub(super) fn look_for_requests(&mut self, ctx: &mut Context<Self>) {
        if self.term.session.is_none() || self.term.parking.is_empty() || !self.is_following() {
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
