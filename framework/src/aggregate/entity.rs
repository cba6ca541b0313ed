//! The actor of one aggregate instance: decides all queued commands and appends their events in one
//! call.
//!
//! The state in memory is always the fold of the log up to its tip. In each round the actor takes
//! the queue, decides each command on the state that the command before it left, appends, and
//! replies. No reply is sent before the commit. After a conflict the actor reads and folds
//! the events it missed, and decides again. It only discards the state if that may be wrong. When
//! the actor ends, all queued commands get an error.
//!
//! See `docs/decisions.md`, "What happens to the state in memory when another process was faster?"

use std::collections::VecDeque;
use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use super::Aggregate;
use super::decide::decide;
use super::deciding::Deciding;
use super::load::{LoadError, Loaded, catch_up};
use super::mailbox::{Mailbox, Request};
use super::settle::{Settled, Standing, settle};
use crate::catch_panic::{Isolated, guarded};
use crate::error::{CommandError, StoreError};
use crate::event::{StreamId, StreamVersion, Tip};
use crate::store::contract::{PageLimit, Snapshot, Store};

/// Notifies the actor that its mailbox is not empty.
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
    /// The log may have events that the state, if there is one, does not include: read them first.
    Behind(Behind<A>),
    Live(Box<Loaded<A>>),
    /// The stored events cannot be folded. Only a new release can change that, so this actor does
    /// not try again.
    Quarantined(String),
}

/// A state to which newer events must be applied before the next decision.
struct Behind<A> {
    /// Boxed, so that the actor is `Unpin` whatever the aggregate is.
    held: Option<Box<Loaded<A>>>,
    /// Version that the store reported with a conflict. The state must reach at least this version.
    at_least: Option<StreamVersion>,
}

impl<A> State<A> {
    /// No state in memory.
    const COLD: Self = Self::Behind(Behind { held: None, at_least: None });
}

impl<A: Aggregate> EntityActor<A> {
    pub(crate) fn new(
        stream: StreamId,
        mailbox: Arc<Mailbox<A>>,
        deciding: Arc<Deciding<A>>,
    ) -> Self {
        Self { stream, mailbox, deciding, state: State::COLD }
    }

    /// Performs one step: either catches up, or decides and appends. Each step starts the next one
    /// until the queue is empty. `again` are requests of the previous round that must be decided
    /// again; they go first.
    fn step(&mut self, again: Vec<Request<A>>, context: &mut Context<Self>) {
        // Requests that are decided again keep their place before the queue, so commands stay in
        // order.
        let mut requests = VecDeque::from(again);
        requests.append(&mut self.mailbox.take(!requests.is_empty()));
        if requests.is_empty() {
            return;
        }
        match &self.state {
            State::Behind(_) => self.catch_up(requests, context),
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

    fn catch_up(&mut self, requests: VecDeque<Request<A>>, context: &mut Context<Self>) {
        // The caller matched on it.
        let State::Behind(behind) = std::mem::replace(&mut self.state, State::COLD) else { return };
        let Behind { mut held, at_least } = behind;
        let (deciding, stream) = (Arc::clone(&self.deciding), self.stream.clone());
        self.mailbox.set_loading(true);
        let reading = async move {
            let reached = catch_up(&deciding, &stream, &mut held, at_least).await;
            (held, reached)
        };
        context.wait(reading.into_actor(self).map(move |(held, reached), actor, context| {
            actor.mailbox.set_loading(false);
            actor.state = match (reached, held) {
                (Ok(()), Some(loaded)) => State::Live(loaded),
                (Ok(()), None) => State::COLD,
                (Err(LoadError::Quarantined(reason)), _) => {
                    tracing::error!(
                        stream = %actor.stream,
                        reason,
                        "an aggregate is quarantined, because its stored events cannot be folded: \
                         correct its code and deploy"
                    );
                    State::Quarantined(reason)
                }
                (Err(LoadError::Panicked(message)), _) => {
                    for request in requests {
                        let (stream, message) = (actor.stream.clone(), message.clone());
                        request.answer(Err(CommandError::Panicked { stream, message }));
                    }
                    return actor.step(Vec::new(), context);
                }
                (Err(LoadError::Unavailable(error)), held) => {
                    for request in requests {
                        request.answer(Err(CommandError::Unavailable(error.clone())));
                    }
                    actor.state = State::Behind(Behind { held, at_least });
                    return actor.step(Vec::new(), context);
                }
            };
            actor.step(requests.into(), context);
        }));
    }

    fn decide(&mut self, requests: VecDeque<Request<A>>, context: &mut Context<Self>) {
        // The caller matched on it.
        let State::Live(loaded) = &self.state else { return };
        let (round, ahead) = decide(&self.deciding, &self.stream, loaded, requests);
        let (deciding, stream) = (Arc::clone(&self.deciding), self.stream.clone());
        let settling = async move { settle(&deciding, &stream, round).await }.into_actor(self);
        // `wait` suspends the actor's messages, because the next round must see this one's outcome.
        context.wait(settling.map(move |settled, actor, context| {
            actor.state = match std::mem::replace(&mut actor.state, State::COLD) {
                State::Live(loaded) => actor.after_round(loaded, ahead, &settled),
                state => state,
            };
            actor.step(settled.again, context);
        }));
    }

    fn after_round(
        &self,
        mut loaded: Box<Loaded<A>>,
        ahead: Option<Isolated<A>>,
        settled: &Settled<A>,
    ) -> State<A> {
        match settled.standing {
            Standing::AsDecided => {
                loaded.tip = settled.tip;
                if let Some(ahead) = ahead {
                    loaded.aggregate = ahead;
                }
                self.save_snapshot(&mut loaded);
                State::Live(loaded)
            }
            Standing::Behind => {
                State::Behind(Behind { held: Some(loaded), at_least: settled.seen })
            }
            Standing::InDoubt => State::COLD,
        }
    }

    /// Saves a snapshot when one is due, in the background: nothing waits for it or depends on it.
    fn save_snapshot(&self, loaded: &mut Loaded<A>) {
        let Some(policy) = &self.deciding.snapshots else { return };
        if loaded.tip.version.0.saturating_sub(loaded.snapshot_at.0) < policy.every {
            return;
        }
        // Set even if the snapshot fails, so that a failing one is not encoded again in each round.
        loaded.snapshot_at = loaded.tip.version;
        let state = match guarded(|| policy.round_trip(&loaded.aggregate)) {
            Ok(Ok(state)) => state,
            Ok(Err(reason)) | Err(reason) => {
                return tracing::warn!(
                    stream = %self.stream,
                    reason,
                    "no snapshot is stored, because the state does not survive encoding"
                );
            }
        };
        let (tip, store) = (loaded.tip, Arc::clone(&self.deciding.store));
        let (stream, state_version) = (self.stream.clone(), policy.state_version);
        actix::spawn(async move {
            if let Err(error) = keep_snapshot(&*store, &stream, tip, state_version, state).await {
                tracing::warn!(%stream, %error, "a snapshot could not be stored");
            }
        });
    }
}

/// Stores a snapshot with the id of its last event. The id is read from the log, so that a loader
/// can later check that the log still has this event.
async fn keep_snapshot(
    store: &dyn Store,
    stream: &StreamId,
    tip: Tip,
    state_version: u32,
    state: String,
) -> Result<(), StoreError> {
    let before = StreamVersion(tip.version.0.saturating_sub(1));
    let last = store.read_stream(stream, before, PageLimit::events(1)).await?;
    let Some(last) = last.first().filter(|last| last.position == tip.position) else {
        return Err(StoreError::OtherHistory(format!(
            "{stream} has no event at version {} and position {}",
            tip.version, tip.position
        )));
    };
    let Tip { version, position } = tip;
    let snapshot =
        Snapshot::new(stream.clone(), version, position, last.event_id, state_version, state);
    store.save_snapshot(snapshot).await
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

impl<A: Aggregate> Drop for EntityActor<A> {
    /// Fails all queued requests. After passivation there are none. After a panic in the runtime
    /// or a stop of the arbiter, the callers would otherwise wait until `answer_within` is over.
    fn drop(&mut self) {
        for request in self.mailbox.close() {
            let reason = format!("the actor of {} has ended; nothing was stored", self.stream);
            let unavailable = StoreError::Unavailable(reason);
            request.answer(Err(CommandError::Unavailable(unavailable)));
        }
    }
}
