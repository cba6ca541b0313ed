//! Pages on their way into the documents of an owner.
//!
//! A page whose documents are not all in memory waits for the store. Meanwhile the page after it is
//! decoded, and its documents are requested before the first page is folded. So at most two pages are
//! in memory, and neither the store nor the folding waits for the other. Folding goes on while a save
//! is in progress, because a save writes a copy.

use std::sync::Arc;
use std::time::Instant;

use actix::Context;
use tokio::sync::oneshot;

use super::ReadModel;
use super::actor::ReadModelActor;
use super::answers::ahead_of;
use super::fold::{Decoded, Poison};
use super::role::Report;
use crate::catch_panic::guarded_async;
use crate::error::StoreError;
use crate::partition::Pacing;
use crate::spans;
use crate::store::contract::{DocumentsAt, Page};

impl<M: ReadModel> ReadModelActor<M> {
    /// Asks the driver for the next page, unless one is there already or too much is unsaved.
    pub(super) fn want_page(&mut self, ctx: &mut Context<Self>) {
        let Self { folder, pacing, .. } = self;
        let Some(owner) = self.role.owner().filter(|owner| owner.ahead.is_none()) else { return };
        if owner.awaits_page {
            return owner.report(Report::Folded(owner.folded));
        }
        if folder.parking.is_crowded() {
            owner.is_paused = true;
            return self.drain_if_due(ctx);
        }
        let unsaved = folder.documents.unsaved() + folder.parking.unsaved();
        let Pacing { most_unsaved, most_unsaved_bytes, save_bytes, .. } = *pacing;
        if unsaved >= folder.sizes.fit(most_unsaved_bytes, most_unsaved) {
            owner.is_paused = true;
            return self.save(ctx);
        }
        owner.awaits_page = true;
        // Documents may be much larger than the events that change them.
        let events = folder.sizes.events(save_bytes);
        owner.report(Report::Room { events, folded: owner.folded });
    }

    /// Goes on with pages that waited for a save or for parked keys.
    pub(super) fn resume_paused(&mut self, ctx: &mut Context<Self>) {
        let paused = self.role.owner().filter(|owner| !owner.is_saving);
        if paused.is_some_and(|owner| std::mem::take(&mut owner.is_paused)) {
            self.want_page(ctx);
        }
    }

    /// Decodes a page. A page that waits for its documents is folded before it.
    pub(super) fn take_page(&mut self, page: Arc<Page>, ctx: &mut Context<Self>) {
        let Some(owner) = self.role.owner() else { return };
        owner.awaits_page = false;
        let decoded = self.folder.decode(page);
        match (&owner.loading, &owner.ahead) {
            (None, _) => self.load_and_fold(decoded, ctx),
            (Some(_), None) => owner.ahead = Some(decoded),
            // The driver sends a page only after a report of room. To drop one would lose its events.
            (Some(_), Some(_)) => {
                let (place, reason) =
                    (self.partition.to_string(), "a page too many came".to_owned());
                self.fail(self.reached().next(), StoreError::Corrupt { place, reason });
            }
        }
    }

    fn load_and_fold(&mut self, page: Decoded<M>, ctx: &mut Context<Self>) {
        if let Err(all_there) = self.load(page, ctx) {
            return self.fold(all_there, ctx);
        }
        if !self.folder.parking.may_be_crowded() {
            self.want_page(ctx);
        }
    }

    /// Loads the documents that a page changes, as far as they are neither in memory nor new. Gives
    /// the page back if there is nothing to load.
    fn load(&mut self, page: Decoded<M>, ctx: &mut Context<Self>) -> Result<(), Decoded<M>> {
        let cold = self.folder.cold_keys(&page);
        if cold.is_empty() {
            return Err(page);
        }
        let Some(owner) = self.role.owner() else { return Ok(()) };
        owner.loading = Some(page);
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let (retry, (mut asker, answer)) = (self.retry(), oneshot::channel());
        // Runs where the tail runs, because this thread would send the query only after it has
        // folded. With a single arbiter the two are one, and nothing is won.
        self.tail.spawn(Box::pin(async move {
            let load = guarded_async(retry.call(|| store.load_documents(&partition, &cold)));
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
            let page = act.role.owner().and_then(|owner| owner.loading.take());
            let Some(page) = page else { return };
            match loaded.and_then(|loaded| act.warm(loaded)) {
                Ok(()) => act.fold_and_load_ahead(page, ctx),
                Err(fault) => act.fail(act.reached().next(), fault),
            }
        });
        Ok(())
    }

    /// Folds a page whose documents are all there. Those of the next are requested before that.
    fn fold_and_load_ahead(&mut self, page: Decoded<M>, ctx: &mut Context<Self>) {
        let ahead = self.role.owner().and_then(|owner| owner.ahead.take());
        let ahead = match ahead {
            Some(ahead) if !self.folder.documents.is_overfull() => self.load(ahead, ctx).err(),
            // Documents leave memory before more are loaded.
            ahead => ahead,
        };
        self.fold(page, ctx);
        if let Some(ahead) = ahead {
            self.load_and_fold(ahead, ctx);
        }
    }

    /// Takes in what the store had.
    ///
    /// # Errors
    /// Another process has stored newer documents than this one has. Folded on, they would count
    /// events twice.
    pub(super) fn warm(&mut self, loaded: DocumentsAt) -> Result<(), StoreError> {
        let DocumentsAt { documents, checkpoint, .. } = loaded;
        let handed_out = self.role.saver().map(|owner| owner.handed_out);
        if let Some(ahead) = checkpoint.filter(|stored| Some(stored.position) > handed_out) {
            return Err(ahead_of(&self.partition, ahead));
        }
        self.folder.warm(documents);
        Ok(())
    }

    fn fold(&mut self, page: Decoded<M>, ctx: &mut Context<Self>) {
        let Some(owner) = self.role.owner() else { return };
        owner.is_changed();
        owner.folded += 1;
        let (now, at, sample) = (Instant::now(), self.clock.now(), self.pacing.save_bytes);
        let span = spans::fold(M::NAME, page.events());
        let folded = span.in_scope(|| self.folder.fold(page, sample, now, at));
        if folded.has_parked {
            self.progress.failed("an event cannot be applied: its key is parked");
        }
        self.progress.count_events(folded.events);
        self.progress.applied(self.reached());
        if let Some(Poison { position, reason }) = folded.poison {
            return self.halt(position, reason, true);
        }
        self.answer_due(ctx);
        self.evict();
        self.save_if_due(ctx);
        self.want_page(ctx);
    }

    /// Lets documents leave memory, unless a page waits for others: it has already decided which of
    /// its documents are in memory.
    pub(super) fn evict(&mut self) {
        if self.role.saver().is_none_or(|owner| owner.loading.is_none()) {
            self.folder.evict();
        }
    }
}
