//! From an id to its live actor: the map of the instances of one aggregate type.
//!
//! A command is queued under the same lock under which instances are let go, and only idle ones
//! are, so passivation loses nothing. A full queue refuses at once.

use std::any::Any;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use actix::{Actor, Addr, Context};
use lru::LruCache;
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tracing::{Instrument, Span};

use super::admission::{Admission, Refused};
use super::arbiters::Arbiters;
use super::deciding::Deciding;
use super::entity::{EntityActor, Wake};
use super::in_flight::RunningKeys;
use super::load::{LoadError, catch_up};
use super::mailbox::{Answer, Mailbox, Offered, Request};
use super::ticket::Ticket;
use super::{Aggregate, Loaded, load};
use crate::catch_panic::Isolated;
use crate::command::CommandOptions;
use crate::error::{CommandError, ReadError, StoreError};
use crate::event::{StreamId, Tip};
use crate::metrics::CommandMetrics;
use crate::spans;

/// The map is cut in parts with a lock each, so that callers seldom meet.
const SHARDS: usize = 32;

/// How many of the longest unused instances are looked at for an idle one when room is needed.
const LOOK_AT: usize = 64;

type Shard<A> = LruCache<StreamId, Instance<A>>;

struct Instance<A: Aggregate> {
    mailbox: Arc<Mailbox<A>>,
    /// The only address: dropping it ends the actor.
    address: Addr<EntityActor<A>>,
    used: Instant,
}

pub(crate) struct Router<A: Aggregate> {
    shards: Box<[Mutex<Shard<A>>]>,
    live_per_shard: usize,
    deciding: Arc<Deciding<A>>,
    arbiters: Arc<Arbiters>,
    admission: Admission,
    running: RunningKeys,
    metrics: CommandMetrics,
}

/// What can be done with a router of any type.
pub(crate) trait RouterControl: Any + Send + Sync {
    /// Brings the gauges up to date.
    fn observe(&self);
}

impl<A: Aggregate> RouterControl for Router<A> {
    fn observe(&self) {
        self.metrics.live(self.live());
    }
}

impl<A: Aggregate> Router<A> {
    pub(crate) fn new(
        deciding: Arc<Deciding<A>>,
        arbiters: Arc<Arbiters>,
        admission: Admission,
        running: RunningKeys,
    ) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(LruCache::unbounded())).collect();
        let live_per_shard = (deciding.settings.live_aggregates / SHARDS).max(1);
        let metrics = CommandMetrics::new(A::TYPE);
        Self { shards, live_per_shard, deciding, arbiters, admission, running, metrics }
    }

    /// Queues a command for its aggregate and waits for the answer, at most `answer_within`. A caller
    /// that drops this future does not cancel the command. If the time ends before the command is
    /// decided, the command is withdrawn and answered as `Unavailable`; after that, as `Unknown`.
    pub(crate) async fn execute(
        &self,
        stream: StreamId,
        command: A::Command,
        options: CommandOptions,
    ) -> Answer<A> {
        let arrived = self.metrics.arrived();
        let span = spans::command(&stream, &options.metadata);
        let command = Isolated::new(command);
        // An instrumented future costs half a microsecond for each command, also if its span is disabled.
        let answer = if span.is_disabled() {
            self.ask(stream, command, options, span).await
        } else {
            self.ask(stream, command, options, span.clone()).instrument(span).await
        };
        arrived.answered(&answer);
        answer
    }

    async fn ask(
        &self,
        stream: StreamId,
        command: Isolated<A::Command>,
        options: CommandOptions,
        span: Span,
    ) -> Answer<A> {
        // What a command holds on the heap is not known without the size of its request.
        let bytes = options.bytes.max(size_of::<A::Command>());
        let permit = self.admission.admit(bytes).map_err(|refused| match refused {
            Refused::Full => CommandError::Overloaded("too many commands are in flight"),
            Refused::Stopping => CommandError::Stopping,
        })?;
        crate::failpoints::point("command.accepted");
        let until = tokio::time::Instant::now() + self.deciding.settings.answer_within;
        let running = match &options.key {
            None => None,
            Some(key) => match timeout_at(until, self.running.enter(key)).await {
                Ok(Ok(running)) => Some(running),
                Ok(Err(committed)) => return Ok(committed),
                Err(_) => return Err(CommandError::StillRunning),
            },
        };
        let (reply, answer) = oneshot::channel();
        let ticket = Arc::new(Ticket::new(running));
        let mine = Arc::clone(&ticket);
        let request = Request { command, options, reply, permit, ticket, conflicts: 0, span };
        let mailbox = self.enqueue(&stream, request)?;
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => answer,
            // No answer in time, or the actor ended with the request in its hands.
            Ok(Err(_)) | Err(_) if mine.withdraw() => {
                mailbox.forget_withdrawn();
                let busy = mailbox.busy_with();
                // An earlier attempt under the same key may have been carried out.
                let reason = format!("{stream} is {busy}; this attempt stored nothing");
                Err(CommandError::Unavailable(StoreError::Unavailable(reason)))
            }
            Ok(Err(_)) | Err(_) => Err(CommandError::Unknown),
        }
    }

    /// Folds an aggregate from the log, beside its actor and without waiting for it.
    pub(crate) async fn load(&self, stream: &StreamId) -> Result<Loaded<A>, ReadError>
    where
        A: Send,
    {
        let mut held = None;
        catch_up(&self.deciding, stream, &mut held, None).await.map_err(|error| match error {
            LoadError::Unavailable(error) => error,
            LoadError::Quarantined(reason) | LoadError::Panicked(reason) => {
                StoreError::Corrupt { place: stream.to_string(), reason }
            }
        })?;
        // `catch_up` holds a state unless it failed.
        let unloaded = || StoreError::Unavailable(format!("{stream} was not loaded"));
        let load::Loaded { aggregate, tip, .. } = *held.ok_or_else(unloaded)?;
        let Tip { version, position } = tip;
        Ok(Loaded { state: aggregate.into_inner(), version, position })
    }

    /// Queues the request and returns the queue it is in.
    fn enqueue(
        &self,
        stream: &StreamId,
        mut request: Request<A>,
    ) -> Result<Arc<Mailbox<A>>, CommandError<A::Error>> {
        let mut hasher = DefaultHasher::new();
        stream.hash(&mut hasher);
        let hash = hasher.finish();
        let mut shard = self.shard(hash as usize % SHARDS);
        loop {
            if !shard.get(stream).is_some_and(|instance| instance.address.connected()) {
                self.make_room(&mut shard);
                // The shard took the low bits of the hash; the arbiter takes others.
                let instance = self.start(stream.clone(), hash >> 32);
                shard.put(stream.clone(), instance);
            }
            let Some(instance) = shard.get_mut(stream) else {
                // Cannot happen: it was found or put there a moment ago, under this lock.
                return Err(CommandError::Stopping);
            };
            instance.used = Instant::now();
            let mailbox = Arc::clone(&instance.mailbox);
            request = match mailbox.offer(request) {
                Offered::Awake => return Ok(mailbox),
                Offered::Full => {
                    return Err(CommandError::Overloaded("too many wait for this aggregate"));
                }
                Offered::Wake if instance.address.try_send(Wake).is_ok() => return Ok(mailbox),
                // At most one wake-up is under way, so it is refused only by an actor that has
                // ended. Only a stopping arbiter ends one between `connected` and here.
                Offered::Wake => {
                    drop(mailbox.close());
                    return Err(CommandError::Stopping);
                }
                Offered::Closed(request) => *request,
            };
            // The actor has ended and closed its queue: the next turn starts another one.
            shard.pop(stream);
        }
    }

    fn start(&self, stream: StreamId, hash: u64) -> Instance<A> {
        let mailbox = Arc::new(Mailbox::new(self.deciding.settings.queue_per_aggregate));
        let (taken, deciding) = (Arc::clone(&mailbox), Arc::clone(&self.deciding));
        let make = move |_: &mut Context<_>| EntityActor::new(stream, taken, deciding);
        let address = EntityActor::start_in_arbiter(self.arbiters.of(hash), make);
        Instance { mailbox, address, used: Instant::now() }
    }

    /// Lets the longest unused idle instance go when the shard is full. When all that were looked
    /// at are busy the shard grows: that is bounded by the commands in flight.
    fn make_room(&self, shard: &mut Shard<A>) {
        if shard.len() < self.live_per_shard {
            return;
        }
        let longest_unused = shard.iter().rev().take(LOOK_AT);
        let idle = longest_unused.filter(|(_, instance)| instance.mailbox.is_idle()).take(2);
        // Two for one: so the shard shrinks back after a burst.
        for stream in idle.map(|(stream, _)| stream.clone()).collect::<Vec<_>>() {
            shard.pop(&stream);
        }
    }

    /// Lets every instance go that was unused since `before`.
    pub(crate) fn passivate(&self, before: Instant) {
        for index in 0..SHARDS {
            let mut shard = self.shard(index);
            let unused = shard.iter().rev().take_while(|(_, instance)| instance.used < before);
            let idle = unused.filter(|(_, instance)| instance.mailbox.is_idle());
            for stream in idle.map(|(stream, _)| stream.clone()).collect::<Vec<_>>() {
                shard.pop(&stream);
            }
        }
    }

    /// How many instances are live.
    pub(crate) fn live(&self) -> usize {
        (0..SHARDS).map(|index| self.shard(index).len()).sum()
    }

    /// Nothing under the lock runs user code, so a poisoned lock still guards a whole map.
    fn shard(&self, index: usize) -> MutexGuard<'_, Shard<A>> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
