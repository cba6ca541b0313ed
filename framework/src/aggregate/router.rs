//! Routes commands to the live actors of one aggregate type, and starts and passivates the actors.
//!
//! A command is queued under the same lock under which idle actors are removed, so passivation
//! never loses a command. A full queue refuses at once.

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

/// Number of shards of the map. Each has its own lock, so that callers rarely contend.
const SHARDS: usize = 32;

/// Number of the least recently used instances that are searched for an idle one when a shard is
/// full.
const LOOK_AT: usize = 64;

type Shard<A> = LruCache<StreamId, Instance<A>>;

struct Instance<A: Aggregate> {
    mailbox: Arc<Mailbox<A>>,
    /// The only address of the actor: dropping it ends the actor.
    address: Addr<EntityActor<A>>,
    used: Instant,
}

/// The actors of one aggregate type, started on demand.
pub(crate) struct Router<A: Aggregate> {
    shards: Box<[Mutex<Shard<A>>]>,
    live_per_shard: usize,
    deciding: Arc<Deciding<A>>,
    arbiters: Arc<Arbiters>,
    admission: Admission,
    running: RunningKeys,
    metrics: CommandMetrics,
}

/// Operations on a router that do not depend on its aggregate type.
pub(crate) trait RouterControl: Any + Send + Sync {
    /// Updates the gauges of the metrics.
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

    /// Queues a command for its aggregate and waits for the result, at most `answer_within`. A
    /// caller that drops this future does not cancel the command. After the timeout, a command that
    /// was not yet decided is withdrawn and fails with `Unavailable`; one that was decided fails
    /// with `Unknown`.
    pub(crate) async fn execute(
        &self,
        stream: StreamId,
        command: A::Command,
        options: CommandOptions,
    ) -> Answer<A> {
        let arrived = self.metrics.arrived();
        let span = spans::command(&stream, &options.metadata);
        let command = Isolated::new(command);
        // Instrumenting a future costs half a microsecond per command, even if the span is
        // disabled.
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
        // The heap memory of a command is unknown unless the caller has set the size of its
        // request.
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
            // No reply in time, or the actor ended while it held the request.
            Ok(Err(_)) | Err(_) if mine.withdraw() => {
                mailbox.forget_withdrawn();
                let busy = mailbox.busy_with();
                // Only this attempt: an earlier one under the same key may have been carried out.
                let reason = format!(
                    "{stream} did not decide the command in time, because it is {busy}; this \
                     attempt stored nothing"
                );
                Err(CommandError::Unavailable(StoreError::Unavailable(reason)))
            }
            Ok(Err(_)) | Err(_) => Err(CommandError::Unknown),
        }
    }

    /// Folds an aggregate from the log. The actor is not involved, so a busy actor does not delay
    /// this.
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
        // `catch_up` sets the state unless it fails.
        let unloaded = || StoreError::Unavailable(format!("{stream} was not loaded"));
        let load::Loaded { aggregate, tip, .. } = *held.ok_or_else(unloaded)?;
        let Tip { version, position } = tip;
        Ok(Loaded { state: aggregate.into_inner(), version, position })
    }

    /// Queues the request. Returns the mailbox that it is in.
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
                // The shard uses the low bits of the hash, so the arbiter must use others.
                let instance = self.start(stream.clone(), hash >> 32);
                shard.put(stream.clone(), instance);
            }
            let Some(instance) = shard.get_mut(stream) else {
                // Cannot happen: the instance was found or inserted above, under this lock.
                return Err(CommandError::Stopping);
            };
            instance.used = Instant::now();
            let mailbox = Arc::clone(&instance.mailbox);
            request = match mailbox.offer(request) {
                Offered::Awake => return Ok(mailbox),
                Offered::Full => {
                    return Err(CommandError::Overloaded("the queue of this aggregate is full"));
                }
                Offered::Wake if instance.address.try_send(Wake).is_ok() => return Ok(mailbox),
                // At most one wake-up is in the actor's own mailbox, so `try_send` only fails if
                // the actor has ended. Between `connected` and here, only a stopping arbiter ends
                // an actor.
                Offered::Wake => {
                    drop(mailbox.close());
                    return Err(CommandError::Stopping);
                }
                Offered::Closed(request) => *request,
            };
            // The actor has ended and closed its queue: the next iteration starts another one.
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

    /// Removes idle instances if the shard is full, least recently used first. If all candidates
    /// are busy, the shard grows; the number of commands in flight bounds that growth.
    fn make_room(&self, shard: &mut Shard<A>) {
        if shard.len() < self.live_per_shard {
            return;
        }
        let longest_unused = shard.iter().rev().take(LOOK_AT);
        let idle = longest_unused.filter(|(_, instance)| instance.mailbox.is_idle()).take(2);
        // Two at a time, so that the shard shrinks back after a burst.
        for stream in idle.map(|(stream, _)| stream.clone()).collect::<Vec<_>>() {
            shard.pop(&stream);
        }
    }

    /// Removes every idle instance that has not been used since `before`.
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

    /// Number of live instances.
    pub(crate) fn live(&self) -> usize {
        (0..SHARDS).map(|index| self.shard(index).len()).sum()
    }

    /// No user code runs under the lock, so a poisoned lock still guards a consistent map.
    fn shard(&self, index: usize) -> MutexGuard<'_, Shard<A>> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
