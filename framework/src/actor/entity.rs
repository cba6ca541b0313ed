//! One aggregate instance as an actor: it decides all that waits and appends it in one go.
//!
//! Load once, then in each round: take the queue, decide each command on the state the one before
//! left, append, answer. Nobody is answered before the commit. Whatever does not come out as
//! decided costs the state in memory: it is thrown away and loaded again, never repaired.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use super::decide::decide;
use super::deciding::Deciding;
use super::load::{LoadError, Loaded, load};
use super::mailbox::{Mailbox, Request};
use super::settle::settle;
use crate::aggregate::Aggregate;
use crate::error::CommandError;
use crate::snapshot::Snapshot;
use crate::stream::StreamId;

/// Something waits in the mailbox.
pub(crate) struct Wake;

impl Message for Wake {
    type Result = ();
}

pub(crate) struct EntityActor<A: Aggregate> {
    stream: StreamId,
    mailbox: Arc<Mailbox<A>>,
    deciding: Arc<Deciding<A>>,
    state: State<A>,
}

enum State<A> {
    /// Not loaded, or thrown away.
    Absent,
    /// Boxed, so that the actor is `Unpin` whatever the aggregate is.
    Live(Box<Loaded<A>>),
    /// The stored events cannot be folded; only another program can change that, so it is not
    /// tried again while this actor lives.
    Quarantined(String),
}

impl<A: Aggregate> EntityActor<A> {
    pub(crate) fn new(
        stream: StreamId,
        mailbox: Arc<Mailbox<A>>,
        deciding: Arc<Deciding<A>>,
    ) -> Self {
        Self { stream, mailbox, deciding, state: State::Absent }
    }

    /// One step: load, or decide and append. It ends with itself, until nothing waits. `again` are
    /// requests of the round before that have to be decided anew; they go first.
    fn step(&mut self, again: Vec<Request<A>>, context: &mut Context<Self>) {
        let mut requests = VecDeque::from(again);
        requests.append(&mut self.mailbox.take(!requests.is_empty()));
        if requests.is_empty() {
            return;
        }
        match &self.state {
            State::Absent => self.load(requests, context),
            State::Live(_) => self.decide(requests, context),
            State::Quarantined(reason) => {
                for request in requests {
                    let (stream, reason) = (self.stream.clone(), reason.clone());
                    request.answer(Err(CommandError::Quarantined { stream, reason }));
                }
                context.notify(Wake);
            }
        }
    }

    fn load(&mut self, requests: VecDeque<Request<A>>, context: &mut Context<Self>) {
        let (deciding, stream) = (Arc::clone(&self.deciding), self.stream.clone());
        let loading = async move { load(&deciding, &stream).await }.into_actor(self);
        context.wait(loading.map(|loaded, actor, context| {
            match loaded {
                Ok(loaded) => actor.state = State::Live(Box::new(loaded)),
                Err(LoadError::Quarantined(reason)) => {
                    tracing::error!(stream = %actor.stream, reason, "an aggregate cannot be loaded");
                    actor.state = State::Quarantined(reason);
                }
                Err(LoadError::Unavailable(error)) => {
                    for request in requests {
                        request.answer(Err(CommandError::Unavailable(error.clone())));
                    }
                    return actor.step(Vec::new(), context);
                }
            }
            actor.step(requests.into(), context);
        }));
    }

    fn decide(&mut self, requests: VecDeque<Request<A>>, context: &mut Context<Self>) {
        // The caller matched on it.
        let State::Live(loaded) = &mut self.state else { return };
        let round = decide(&self.deciding, &self.stream, loaded, requests);
        let broken = round.broken;
        let (deciding, stream) = (Arc::clone(&self.deciding), self.stream.clone());
        let settling = async move { settle(&deciding, &stream, round).await }.into_actor(self);
        context.wait(settling.map(move |settled, actor, context| {
            match &mut actor.state {
                State::Live(loaded) if settled.as_decided && !broken => {
                    loaded.tip = settled.tip;
                    actor.save_snapshot();
                }
                state => *state = State::Absent,
            }
            actor.step(settled.again, context);
        }));
    }

    /// Keeps a snapshot when one is due. Nothing waits for it and nothing depends on it.
    fn save_snapshot(&mut self) {
        let State::Live(loaded) = &mut self.state else { return };
        let Some(policy) = &self.deciding.snapshots else { return };
        if loaded.tip.version.0 < loaded.snapshot_at.0 + policy.every {
            return;
        }
        loaded.snapshot_at = loaded.tip.version;
        let state = match (policy.encode)(&loaded.aggregate) {
            Ok(state) => state,
            Err(error) => {
                return tracing::warn!(stream = %self.stream, %error, "a snapshot cannot be made");
            }
        };
        let (tip, store) = (loaded.tip, Arc::clone(&self.deciding.store));
        let snapshot = Snapshot::new(
            self.stream.clone(),
            tip.version,
            tip.position,
            policy.state_version,
            state,
        );
        actix::spawn(async move {
            let stream = snapshot.stream.clone();
            if let Err(error) = store.save_snapshot(snapshot).await {
                tracing::warn!(%stream, %error, "a snapshot was not kept");
            }
        });
    }
}

impl<A: Aggregate> Actor for EntityActor<A> {
    type Context = Context<Self>;
}

impl<A: Aggregate> Handler<Wake> for EntityActor<A> {
    type Result = ();

    fn handle(&mut self, _: Wake, context: &mut Context<Self>) {
        self.step(Vec::new(), context);
    }
}
