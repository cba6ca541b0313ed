//! An owner: it follows the log and folds, one page after the other.
//!
//! Folding goes on while a save is under way: what is being saved is a copy.

use std::sync::Arc;
use std::time::Instant;

use actix::Context;

use super::actor::ReadModelActor;
use super::fold::{Decoded, Poison};
use super::read::parse;
use super::save;
use crate::error::StoreError;
use crate::event_store::{Filter, Page};
use crate::read_model::{ReadModel, Sources};
use crate::subscription::Pause;

/// What a read model follows.
pub(super) fn filter<M: ReadModel>(sources: &Sources<M>) -> Filter {
    Filter { aggregate_types: sources.routes.aggregate_types().map(str::to_owned).collect() }
}

impl<M: ReadModel> ReadModelActor<M> {
    pub(super) fn pause(&self) -> Pause {
        Pause::new(self.settings.first_pause, self.settings.longest_pause)
    }

    /// Awaits the next page, unless too much is unsaved.
    pub(super) fn pull(&mut self, ctx: &mut Context<Self>) {
        if !self.is_following() {
            return;
        }
        if self.term.parking.is_crowded() {
            self.term.is_paused = true;
            return self.drain_if_due(ctx);
        }
        let unsaved = self.term.documents.unsaved() + self.term.parking.unsaved();
        if unsaved >= self.settings.most_unsaved {
            self.term.is_paused = true;
            self.save(ctx);
            return;
        }
        let Some(mut subscription) = self.term.subscription.take() else { return };
        let next = async move {
            let page = subscription.next().await;
            (subscription, page)
        };
        let pulling = self.beside(ctx, next, |(subscription, page), act, ctx| {
            act.term.subscription = Some(subscription);
            match page {
                Ok(Some(page)) => act.take_in(page, ctx),
                Ok(None) => {} // the application is stopping
                Err(fault) => {
                    let position = act.term.reached.position.next();
                    act.halt(position, fault.to_string(), ctx);
                }
            }
        });
        self.term.pulling = Some(pulling);
    }

    /// Decodes a page and loads what it changes, as far as that is neither hot nor new.
    fn take_in(&mut self, page: Arc<Page>, ctx: &mut Context<Self>) {
        if !self.is_following() {
            return;
        }
        let decoded = Decoded::new(&self.sources, page, |key| self.is_ours(key));
        let cold = decoded.cold_keys(&self.term.documents);
        if cold.is_empty() {
            return self.fold(decoded, ctx);
        }
        self.term.is_loading = true;
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let (reached, retry) = (self.term.reached.position, self.retry());
        let load = async move { save::load(&*store, &partition, &cold, reached, retry).await };
        self.beside(ctx, load, move |loaded, act, ctx| {
            act.term.is_loading = false;
            match loaded.and_then(|loaded| act.warm(loaded)) {
                Ok(()) => act.fold(decoded, ctx),
                Err(fault) => act.fail(act.term.reached.position.next(), fault, ctx),
            }
        });
    }

    pub(super) fn warm(&mut self, loaded: Vec<(String, String)>) -> Result<(), StoreError> {
        for (key, body) in loaded {
            let body = parse(&key, &body)?;
            self.term.documents.warm(key, body);
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
        let (reached, poison) = decoded.fold(&mut term.documents, &mut term.parking, now, at);
        if term.parking.len() > parked_before {
            self.progress.work.failed("an event cannot be applied: its key is parked");
        }
        self.progress.work.applied(events);
        self.term.reached = reached;
        self.term.unsaved_since.get_or_insert_with(Instant::now);
        if let Some(Poison { position, reason }) = poison {
            return self.halt(position, reason, ctx);
        }
        self.progress.applied(reached.position);
        self.answer_due(ctx);
        self.term.documents.evict();
        self.save_if_due(ctx);
        self.pull(ctx);
    }
}
