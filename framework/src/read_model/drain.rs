//! Parked keys of an owner on their way back: tried when they are due or requested, one at a time.
//!
//! The events that wait for a key are read and applied beside the folding of other keys, in chunks. What
//! arrives meanwhile waits behind them. Where the key then stands is saved with the document.

use std::sync::Arc;
use std::time::Instant;

use actix::Context;

use super::ReadModel;
use super::actor::ReadModelActor;
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::partition::parking::{Drain, Listing, read_unlisted, read_waiting};
use crate::store::contract::{DocumentsAt, ParkedQuery};

/// The document, if it was to be loaded, and the events.
type Waiting = (Option<DocumentsAt>, Vec<Arc<RecordedEvent>>);

impl<M: ReadModel> ReadModelActor<M> {
    /// Tries a key that is due, if no other is being tried.
    pub(super) fn drain_if_due(&mut self, ctx: &mut Context<Self>) {
        let Some(owner) = self.role.owner() else { return };
        let parking = &mut self.folder.parking;
        if let Some(listing) = parking.begin_listing(Instant::now()) {
            return self.list_waiting(listing, ctx);
        }
        while let Some(drain) = parking.begin(Instant::now()) {
            if !drain.positions.is_empty() {
                return self.load_drain(drain, ctx);
            }
            parking.end(drain, 0, None, Instant::now(), self.clock.now());
            owner.is_changed();
        }
    }

    /// Lists the next events of a key, which are read from the log again, and then continues.
    fn list_waiting(&mut self, listing: Listing, ctx: &mut Context<Self>) {
        let (store, retry) = (Arc::clone(&self.store), self.retry());
        let filter = self.folder.sources.routes.filter();
        let read = async move {
            let page = retry.call(|| read_unlisted(&*store, &filter, &listing)).await?;
            Ok((listing, page))
        };
        self.beside(ctx, read, move |read: Result<_, StoreError>, act, ctx| {
            let Some(owner) = act.role.owner() else { return };
            let (listing, page) = match read {
                Ok(read) => read,
                Err(fault) => return act.fail(act.reached(), fault),
            };
            owner.is_changed();
            act.folder.end_listing(listing, &page, Instant::now());
            act.drain_if_due(ctx);
        });
    }

    fn load_drain(&mut self, mut drain: Drain, ctx: &mut Context<Self>) {
        let at = drain.positions.first().copied().unwrap_or_default();
        // Pinned, because the document must stay in memory until the events are read.
        self.folder.documents.pin(Some(drain.key.clone()));
        let is_cold = self.folder.documents.is_cold(&drain.key);
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let mut retry = self.retry();
        let load = async move {
            let mut document = None;
            if is_cold {
                let keys = [drain.key.clone()];
                let load = || store.load_documents(&partition, &keys);
                document = Some(retry.clone().call(load).await?);
            }
            loop {
                match read_waiting(&*store, &mut drain).await {
                    Ok(events) => return Ok((drain, (document, events))),
                    Err(error) => retry.after(error).await?,
                }
            }
        };
        self.beside(ctx, load, move |loaded: Result<_, StoreError>, act, ctx| {
            if act.role.owner().is_none() {
                return;
            }
            let drained = loaded.and_then(|(drain, waiting)| act.drain(drain, waiting, ctx));
            if let Err(fault) = drained {
                act.fail(at, fault);
            }
        });
    }

    /// # Errors
    /// Another process has stored newer documents.
    fn drain(
        &mut self,
        drain: Drain,
        (document, events): Waiting,
        ctx: &mut Context<Self>,
    ) -> Result<(), StoreError> {
        if !self.folder.parking.is_current(&drain) {
            // A save has set the key back meanwhile: these events are not the next ones any more.
            self.folder.parking.abandon(&drain);
            self.folder.documents.pin(None);
            self.drain_if_due(ctx);
            return Ok(());
        }
        if let Some(document) = document {
            self.warm(document)?;
        }
        let applied = self.folder.drain(drain, &events, Instant::now(), self.clock.now());
        self.progress.count_events(applied);
        if let Some(owner) = self.role.owner() {
            owner.is_changed();
        }
        self.folder.documents.pin(None);
        self.evict();
        self.save_if_due(ctx);
        self.resume_paused(ctx);
        self.drain_if_due(ctx);
        Ok(())
    }

    /// Looks for requests for parked keys, from whatever process.
    pub(super) fn look_for_requests(&mut self, ctx: &mut Context<Self>) {
        let Some(owner) = self.role.owner().filter(|_| !self.folder.parking.is_empty()) else {
            return;
        };
        owner.asked_at = Instant::now();
        let saved_so_far = self.folder.parking.saved_so_far();
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let asking =
            async move { store.load_parked(&partition.model, &ParkedQuery::requested()).await };
        self.beside(ctx, asking, move |asked, act, ctx| {
            // If the store did not reply, the next look finds the requests.
            let requested = asked.unwrap_or_default().keys;
            act.folder.parking.take_requests(requested, saved_so_far, Instant::now());
            act.drain_if_due(ctx);
        });
    }
}
