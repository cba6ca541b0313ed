//! An owner: it follows the log and folds, one page after the other.
//!
//! A page whose documents are not all in memory waits for the store. Meanwhile the one after it is
//! decoded, and that one's documents are asked for before the first is folded; so two pages at most are
//! in memory, and neither the store nor the folding waits for the other. Nothing leaves memory while a
//! page waits: it was found which of its documents are there.
//!
//! Folding goes on while a save is under way: what is being saved is a copy.

use std::sync::Arc;
use std::time::Instant;

use actix::Context;
use tokio::sync::oneshot;

use super::actor::ReadModelActor;
use super::answers::ahead_of;
use super::encoding::decode;
use super::fold::{Decoded, Poison};
use super::{ReadModel, Sources, save};
use crate::catch_panic::guarded_async;
use crate::error::StoreError;
use crate::partition::Pacing;
use crate::spans;
use crate::store::contract::{DocumentsAt, Filter, Page};

/// What a read model follows.
pub(super) fn filter<M: ReadModel>(sources: &Sources<M>) -> Filter {
    sources.routes.filter()
}

impl<M: ReadModel> ReadModelActor<M> {
    /// Awaits the next page, unless one is at hand or too much is unsaved.
    pub(super) fn pull(&mut self, ctx: &mut Context<Self>) {
        if !self.is_following() || self.term.ahead.is_some() {
            return;
        }
        if self.term.parking.is_crowded() {
            self.term.is_paused = true;
            return self.drain_if_due(ctx);
        }
        let unsaved = self.term.documents.unsaved() + self.term.parking.unsaved();
        let Pacing { most_unsaved, most_unsaved_bytes, .. } = self.settings;
        if unsaved >= self.term.sizes.fit(most_unsaved_bytes, most_unsaved) {
            self.term.is_paused = true;
            self.save(ctx);
            return;
        }
        let Some(mut subscription) = self.term.subscription.take() else { return };
        // Documents may be much larger than the events that change them.
        let events = self.term.sizes.events(self.settings.save_bytes);
        let next = async move {
            let page = subscription.next_at_most(events).await;
            (subscription, page)
        };
        let pulling = self.beside(ctx, next, |(subscription, page), act, ctx| {
            act.term.subscription = Some(subscription);
            match page {
                Ok(Some(page)) => act.take_in(page, ctx),
                Ok(None) => {} // the application is stopping
                // After the page that waits for its documents: who asks again is told again.
                Err(_) if act.term.loading.is_some() => {}
                Err(fault) => {
                    let position = act.term.reached.position.next();
                    if let StoreError::OtherHistory(_) = fault {
                        // The documents were folded from events that the log no longer has.
                        act.become_standby(ctx);
                    }
                    act.halt(position, fault.to_string(), ctx);
                }
            }
        });
        self.term.pulling = Some(pulling);
    }

    /// Decodes a page. Its turn comes after the one that waits for its documents, if one does.
    fn take_in(&mut self, page: Arc<Page>, ctx: &mut Context<Self>) {
        if !self.is_following() {
            return;
        }
        let decoded = Decoded::new(&self.sources, page, |key| self.is_ours(key));
        match self.term.loading {
            Some(_) => self.term.ahead = Some(decoded),
            None => self.load_and_fold(decoded, ctx),
        }
    }

    fn load_and_fold(&mut self, page: Decoded<M>, ctx: &mut Context<Self>) {
        if let Err(all_there) = self.load(page, ctx) {
            return self.fold(all_there, ctx);
        }
        if !self.term.parking.may_be_crowded() {
            self.pull(ctx);
        }
    }

    /// Loads what a page changes, as far as that is neither hot nor new; if there is nothing to load,
    /// it is given back.
    fn load(&mut self, page: Decoded<M>, ctx: &mut Context<Self>) -> Result<(), Decoded<M>> {
        let cold = page.cold_keys(&self.term.documents);
        if cold.is_empty() {
            return Err(page);
        }
        self.term.loading = Some(page);
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let (retry, (mut asker, answer)) = (self.retry(), oneshot::channel());
        // Where the tail runs: this thread would begin to ask only after it has folded. (If it is the
        // same one, as with a single arbiter, nothing is won.)
        self.tail.spawn(Box::pin(async move {
            let load = guarded_async(save::load(&*store, &partition, &cold, retry));
            tokio::select! {
                () = asker.closed() => {}
                loaded = load => {
                    let place = || format!("the documents of {partition}");
                    let panicked = |reason| Err(StoreError::Corrupt { place: place(), reason });
                    let _ = asker.send(loaded.unwrap_or_else(panicked)); // the term has ended
                }
            }
        }));
        self.beside(ctx, answer, move |loaded, act, ctx| {
            let Ok(loaded) = loaded else { return }; // the application is stopping
            let Some(page) = act.term.loading.take() else { return };
            match loaded.and_then(|loaded| act.warm(loaded)) {
                Ok(()) => act.fold_and_load_ahead(page, ctx),
                Err(fault) => act.fail(act.term.reached.position.next(), fault, ctx),
            }
        });
        Ok(())
    }

    /// Folds a page whose documents are all there. Those of the next are asked for before that.
    fn fold_and_load_ahead(&mut self, page: Decoded<M>, ctx: &mut Context<Self>) {
        let ahead = match self.term.ahead.take() {
            Some(ahead) if !self.term.documents.is_overfull() => self.load(ahead, ctx).err(),
            // First of all, something is to leave memory.
            ahead => ahead,
        };
        self.fold(page, ctx);
        if let Some(ahead) = ahead
            && self.is_following()
        {
            self.load_and_fold(ahead, ctx);
        }
    }

    /// Takes in what the store had. A document that does not decode is taken in as unreadable: the
    /// next event for it parks its key, and no other key is concerned.
    ///
    /// # Errors
    /// Another process has stored newer documents than this one has: folded on, those would count
    /// events twice.
    pub(super) fn warm(&mut self, loaded: DocumentsAt) -> Result<(), StoreError> {
        let DocumentsAt { documents, checkpoint, .. } = loaded;
        if let Some(ahead) = checkpoint.filter(|stored| stored.position > self.term.handed_out) {
            return Err(ahead_of(&self.partition, ahead));
        }
        for (key, text) in documents {
            self.term.sizes.sampled(text.len());
            self.term.documents.warm(key, || {
                decode(&text).map_err(|unreadable| {
                    let reason = unreadable.reason;
                    format!("its stored document does not decode: {reason}. Deploy code that reads it, or raise the VERSION")
                })
            });
        }
        Ok(())
    }

    fn fold(&mut self, decoded: Decoded<M>, ctx: &mut Context<Self>) {
        if !self.is_following() {
            return;
        }
        let events = decoded.events();
        let (now, at) = (Instant::now(), self.clock.now());
        let term = &mut self.term;
        let parked_before = term.parking.len();
        let fold = || decoded.fold(&mut term.documents, &mut term.parking, now, at);
        let (reached, poison) = spans::fold(M::NAME, events).in_scope(fold);
        if term.parking.len() > parked_before {
            self.progress.failed("an event cannot be applied: its key is parked");
        }
        self.progress.count_events(events);
        if let Some(bytes) = self.term.documents.sample(self.settings.save_bytes) {
            self.term.sizes.sampled(bytes);
        }
        self.term.reached = reached;
        self.term.unsaved_since.get_or_insert_with(Instant::now);
        if let Some(Poison { position, reason }) = poison {
            return self.halt(position, reason, ctx);
        }
        self.progress.applied(reached.position);
        self.answer_due(ctx);
        self.term.evict();
        self.save_if_due(ctx);
        self.pull(ctx);
    }
}
