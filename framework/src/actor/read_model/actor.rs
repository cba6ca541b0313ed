//! The actor: one page after the other, one save at a time, reads in between.
//!
//! Folding goes on while a save is under way: what is being saved is a copy. Everything that waits
//! (the next page, cold documents, a save) is a future beside the mailbox, so reads are answered
//! meanwhile; only folding itself, pure code on one page, holds them up.

use std::sync::Arc;
use std::time::Instant;

use actix::fut::{ActorFutureExt, WrapFuture};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::ReadModelSettings;
use super::documents::Documents;
use super::fold::{Decoded, Poison, Reached};
use super::handle::{Shared, State};
use super::read::{Read, Reads, parse};
use super::save::{self, Save};
use crate::document::Store;
use crate::error::{ReadError, StoreError};
use crate::event_store::Page;
use crate::lease::Lease;
use crate::read_model::{ReadModel, Sources};
use crate::stream::GlobalPosition;
use crate::subscription::{Pause, Subscription};

/// What an actor starts from.
pub(super) struct Start<M> {
    pub(super) name: Arc<str>,
    pub(super) store: Arc<dyn Store>,
    pub(super) sources: Sources<M>,
    pub(super) subscription: Subscription,
    pub(super) saved: GlobalPosition,
    pub(super) lease: Lease,
    /// Nothing is stored of this read model yet.
    pub(super) is_first_build: bool,
    pub(super) progress: Arc<Shared>,
    pub(super) settings: ReadModelSettings,
}

/// The actor of one read model.
pub(crate) struct ReadModelActor<M: ReadModel> {
    name: Arc<str>,
    store: Arc<dyn Store>,
    sources: Sources<M>,
    /// `None` while the next page is awaited, and after the last one.
    subscription: Option<Subscription>,
    documents: Documents<M>,
    reads: Reads<M>,
    reached: Reached,
    saved: GlobalPosition,
    lease: Lease,
    /// When the oldest step that no save has taken up was folded.
    unsaved_since: Option<Instant>,
    is_saving: bool,
    /// Documents for the next page are being loaded: nothing hot may leave memory meanwhile.
    is_loading: bool,
    /// Too much is unsaved: the next page waits for a save to end.
    is_paused: bool,
    /// What is in memory is not the fold of the log, or not ours to save: save nothing more.
    is_in_doubt: bool,
    stopping: Vec<oneshot::Sender<()>>,
    progress: Arc<Shared>,
    settings: ReadModelSettings,
}

/// End the actor.
pub(super) enum Stop {
    /// Answered when all is saved, as far as it can be.
    AfterSaving(oneshot::Sender<()>),
    AtOnce,
}

impl Message for Stop {
    type Result = ();
}

impl<M: ReadModel> Actor for ReadModelActor<M> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.settings.tick, |act, ctx| act.tick(ctx));
        self.pull(ctx);
    }
}

impl<M: ReadModel> ReadModelActor<M> {
    pub(super) fn new(start: Start<M>) -> Self {
        Self {
            documents: Documents::new(start.settings.hot_documents, start.is_first_build),
            name: start.name,
            store: start.store,
            sources: start.sources,
            subscription: Some(start.subscription),
            reads: Reads::new(),
            reached: Reached { position: start.saved, event_id: None },
            saved: start.saved,
            lease: start.lease,
            unsaved_since: None,
            is_saving: false,
            is_loading: false,
            is_paused: false,
            is_in_doubt: false,
            stopping: Vec::new(),
            progress: start.progress,
            settings: start.settings,
        }
    }

    pub(super) fn progress(&self) -> &Shared {
        &self.progress
    }

    pub(super) fn reached(&self) -> GlobalPosition {
        self.reached.position
    }

    fn halted(&self) -> Option<ReadError> {
        match self.progress.state() {
            State::Halted { position, reason } => {
                Some(ReadError::Halted { model: M::NAME, position, reason })
            }
            State::CatchingUp | State::Live | State::Stopped => None,
        }
    }

    fn is_following(&self) -> bool {
        self.stopping.is_empty() && self.halted().is_none()
    }

    fn pause(&self) -> Pause {
        Pause::new(self.settings.first_pause, self.settings.longest_pause)
    }

    /// Awaits the next page, unless too much is unsaved.
    fn pull(&mut self, ctx: &mut Context<Self>) {
        if !self.is_following() {
            return;
        }
        if self.documents.unsaved() >= self.settings.most_unsaved {
            self.is_paused = true;
            self.save(ctx);
            return;
        }
        let Some(mut subscription) = self.subscription.take() else { return };
        let next = async move {
            let page = subscription.next().await;
            (subscription, page)
        };
        ctx.spawn(next.into_actor(self).map(|(subscription, page), act, ctx| {
            act.subscription = Some(subscription);
            match page {
                Ok(Some(page)) => act.take_in(page, ctx),
                Ok(None) => {} // the application is stopping
                Err(fault) => {
                    let position = act.reached.position.next();
                    act.halt(position, fault.to_string(), ctx);
                }
            }
        }));
    }

    /// Decodes a page and loads what it changes, as far as that is neither hot nor new.
    fn take_in(&mut self, page: Arc<Page>, ctx: &mut Context<Self>) {
        if !self.is_following() {
            return;
        }
        let decoded = Decoded::new(&self.sources, page);
        let cold = decoded.cold_keys(&self.documents);
        if cold.is_empty() {
            return self.fold(decoded, ctx);
        }
        self.is_loading = true;
        let (store, name, pause) = (Arc::clone(&self.store), Arc::clone(&self.name), self.pause());
        let reached = self.reached.position;
        let load = async move { save::load(&*store, &name, &cold, reached, pause).await };
        ctx.spawn(load.into_actor(self).map(move |loaded, act, ctx| {
            act.is_loading = false;
            match loaded.and_then(|loaded| act.warm(loaded)) {
                Ok(()) => act.fold(decoded, ctx),
                Err(fault) => {
                    let position = act.reached.position.next();
                    act.halt(position, fault.to_string(), ctx);
                }
            }
        }));
    }

    fn warm(&mut self, loaded: Vec<(String, String)>) -> Result<(), StoreError> {
        for (key, body) in loaded {
            let body = parse(&key, &body)?;
            self.documents.warm(key, body);
        }
        Ok(())
    }

    fn fold(&mut self, decoded: Decoded<M>, ctx: &mut Context<Self>) {
        if !self.is_following() {
            return;
        }
        let (reached, poison) = decoded.fold(&mut self.documents);
        self.reached = reached;
        self.unsaved_since.get_or_insert_with(Instant::now);
        if let Some(Poison { event, reason, in_doubt }) = poison {
            self.is_in_doubt |= in_doubt;
            let (stream, event_type) = (&event.stream, &event.event_type);
            let reason = format!("{event_type} {} of {stream}: {reason}", event.version);
            return self.halt(event.position, reason, ctx);
        }
        self.progress.applied(reached.position);
        for read in self.reads.due(reached.position) {
            self.reads.look_up(read, &mut self.documents, reached.position);
        }
        self.load_for_reads(ctx);
        self.documents.evict();
        self.save_if_due(ctx);
        self.pull(ctx);
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if !ctx.connected() {
            return ctx.stop(); // nobody has a handle any more
        }
        self.reads.forget_abandoned();
        self.save_if_due(ctx);
    }

    fn save_if_due(&mut self, ctx: &mut Context<Self>) {
        let Some(since) = self.unsaved_since else { return };
        let factor = if self.progress.state() == State::CatchingUp { 4 } else { 1 };
        let (changed, age) = (self.documents.changed(), since.elapsed());
        let is_due = changed >= self.settings.save_at * factor as usize
            || (changed > 0 && age >= self.settings.save_after * factor)
            || age >= self.settings.checkpoint_after;
        if is_due {
            self.save(ctx);
        }
    }

    /// Saves what is unsaved, unless a save is under way or there is nothing that may be saved.
    fn save(&mut self, ctx: &mut Context<Self>) {
        if self.is_saving || self.is_in_doubt || self.reached.position == self.saved {
            return;
        }
        let documents = match self.documents.hand_out() {
            Ok(documents) => documents,
            Err(reason) => {
                self.is_in_doubt = true;
                return self.halt(self.reached.position, reason, ctx);
            }
        };
        self.is_saving = true;
        self.unsaved_since = None;
        let (from, to) = (self.saved, self.reached);
        let (name, lease) = (Arc::clone(&self.name), self.lease.clone());
        let save = Save { name, documents, from, lease, to };
        let (store, pause) = (Arc::clone(&self.store), self.pause());
        let saving = async move { save::store(&*store, save, pause).await };
        ctx.spawn(saving.into_actor(self).map(move |result, act, ctx| {
            act.is_saving = false;
            match result {
                Ok(()) => act.saved(to.position, ctx),
                Err(fault) => {
                    act.is_in_doubt = true;
                    act.halt(to.position, fault.to_string(), ctx);
                }
            }
            act.end_if_saved(ctx);
        }));
    }

    fn saved(&mut self, position: GlobalPosition, ctx: &mut Context<Self>) {
        self.saved = position;
        self.progress.saved(position);
        self.documents.saved();
        if !self.is_loading {
            self.documents.evict();
        }
        if std::mem::take(&mut self.is_paused) {
            self.pull(ctx);
        }
        self.save_if_due(ctx);
    }

    /// Stands still for good, with what was folded before saved if it is whole.
    fn halt(&mut self, position: GlobalPosition, reason: String, ctx: &mut Context<Self>) {
        if self.halted().is_some() {
            return;
        }
        error!(model = %self.name, %position, %reason, "a read model halts");
        self.progress.applied(self.reached.position);
        self.progress.turn(State::Halted { position, reason: reason.clone() });
        self.reads.refuse_all(&ReadError::Halted { model: M::NAME, position, reason });
        self.subscription = None;
        self.save(ctx);
    }

    fn load_for_reads(&mut self, ctx: &mut Context<Self>) {
        let begun = self.reads.begin_load(&mut self.documents, self.reached.position);
        let Some((keys, loading)) = begun else { return };
        let (store, name) = (Arc::clone(&self.store), Arc::clone(&self.name));
        let load = async move { store.load_documents(&name, &keys).await };
        ctx.spawn(load.into_actor(self).map(move |bodies, act, ctx| {
            let reached = act.reached.position;
            act.reads.end_load(loading, bodies, &mut act.documents, reached);
            act.load_for_reads(ctx);
        }));
    }

    /// Ends the actor if that was asked for and nothing is left to save.
    fn end_if_saved(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_empty() {
            return;
        }
        self.save(ctx);
        if self.is_saving {
            return;
        }
        info!(model = %self.name, saved = %self.saved, "a read model stops");
        if self.halted().is_none() {
            self.progress.turn(State::Stopped);
        }
        for reply in self.stopping.drain(..) {
            let _ = reply.send(()); // whoever asked has left
        }
        ctx.stop();
    }
}

impl<M: ReadModel> Handler<Read<M>> for ReadModelActor<M> {
    type Result = ();

    fn handle(&mut self, read: Read<M>, ctx: &mut Self::Context) {
        if let Some(halted) = self.halted() {
            read.answer(Err(halted));
        } else if !self.stopping.is_empty() {
            read.answer(Err(ReadError::Stopping));
        } else if read.wanted > self.reached.position {
            self.reads.wait(read);
        } else {
            self.reads.look_up(read, &mut self.documents, self.reached.position);
            self.load_for_reads(ctx);
        }
    }
}

impl<M: ReadModel> Handler<Stop> for ReadModelActor<M> {
    type Result = ();

    fn handle(&mut self, stop: Stop, ctx: &mut Self::Context) {
        match stop {
            Stop::AfterSaving(reply) => {
                self.stopping.push(reply);
                self.reads.refuse_all(&ReadError::Stopping);
                self.end_if_saved(ctx);
            }
            Stop::AtOnce => ctx.stop(),
        }
    }
}
