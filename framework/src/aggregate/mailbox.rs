//! The queue of commands in front of one aggregate.
//!
//! It is outside the actor, because an actor's own mailbox cannot refuse when it is full and loses
//! what it holds when the actor ends. The actor gets one wake-up and takes everything that waits.
//! When the actor ends, the mailbox is closed and everything in it is answered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tracing::Span;

use super::Aggregate;
use super::admission::Admitted;
use super::ticket::Ticket;
use crate::catch_panic::Isolated;
use crate::command::{CommandOptions, Committed};
use crate::error::CommandError;

/// What a caller of `A` is answered.
pub(crate) type Answer<A> = Result<Committed, CommandError<<A as Aggregate>::Error>>;

/// A command on its way, with whom to answer.
pub(crate) struct Request<A: Aggregate> {
    pub(crate) command: Isolated<A::Command>,
    pub(crate) options: CommandOptions,
    pub(crate) reply: oneshot::Sender<Answer<A>>,
    /// Held until the request is answered or dropped.
    pub(crate) permit: Admitted,
    /// Holds the key too, until the request is answered, withdrawn or dropped.
    pub(crate) ticket: Arc<Ticket>,
    /// How often it lost the race for its stream.
    pub(crate) conflicts: u32,
    /// The caller's, so that what user code logs is found under the command.
    pub(crate) span: Span,
}

impl<A: Aggregate> Request<A> {
    /// Answers the caller. If the caller has left, the outcome stands all the same.
    pub(crate) fn answer(self, answer: Answer<A>) {
        self.finish(answer).send();
    }

    /// Ends the request, and returns the answer that is to be sent to the caller.
    pub(crate) fn finish(self, answer: Answer<A>) -> Reply<A> {
        // Before the answer, so that a caller with an answer finds the place free for its next command.
        drop(self.permit);
        // Without a key nobody waits for the end of the request but its caller, who gets the answer.
        if self.options.key.is_some() {
            self.ticket.finish(answer.as_ref().ok().copied());
        }
        Reply { to: self.reply, answer }
    }
}

/// The answer to a request that has ended, and its caller.
pub(crate) struct Reply<A: Aggregate> {
    to: oneshot::Sender<Answer<A>>,
    answer: Answer<A>,
}

impl<A: Aggregate> Reply<A> {
    /// Sends it. A caller that has left gets nothing.
    pub(crate) fn send(self) {
        if let Err(unheard) = self.to.send(self.answer) {
            // It may hold a refusal, whose Drop is user code.
            drop(Isolated::new(unheard));
        }
    }
}

/// What became of a request offered to a mailbox.
pub(crate) enum Offered<A: Aggregate> {
    /// It waits, and the actor sleeps: wake it.
    Wake,
    /// It waits, and the actor will come for it.
    Awake,
    /// It was not taken, and is dropped.
    Full,
    /// The actor has ended: start another one.
    Closed(Box<Request<A>>),
}

pub(crate) struct Mailbox<A: Aggregate> {
    queue: Mutex<Queue<A>>,
    capacity: usize,
    /// The actor reads the stream. Only error messages depend on it.
    is_loading: AtomicBool,
}

struct Queue<A: Aggregate> {
    waiting: VecDeque<Request<A>>,
    /// The actor has been woken and has not yet found the queue empty. Set by whoever puts a
    /// request into a sleeping actor's queue; cleared only by the actor, under this lock.
    awake: bool,
    /// The actor has ended, so nothing will be taken any more.
    closed: bool,
}

impl<A: Aggregate> Mailbox<A> {
    pub(crate) fn new(capacity: usize) -> Self {
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), awake: false, closed: false });
        Self { queue, capacity: capacity.max(1), is_loading: AtomicBool::new(false) }
    }

    /// Nothing under the lock can panic half way: it only moves requests.
    fn queue(&self) -> MutexGuard<'_, Queue<A>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn offer(&self, request: Request<A>) -> Offered<A> {
        let mut queue = self.queue();
        if queue.closed {
            return Offered::Closed(Box::new(request));
        }
        if queue.waiting.len() >= self.capacity {
            return Offered::Full;
        }
        queue.waiting.push_back(request);
        match std::mem::replace(&mut queue.awake, true) {
            true => Offered::Awake,
            false => Offered::Wake,
        }
    }

    /// Everything that waits. When that is nothing, and the actor is not `busy` with requests it
    /// has kept, it counts as asleep from now on.
    pub(crate) fn take(&self, busy: bool) -> VecDeque<Request<A>> {
        let mut queue = self.queue();
        queue.awake = busy || !queue.waiting.is_empty();
        std::mem::take(&mut queue.waiting)
    }

    /// Checks that the actor sleeps and nothing waits for it.
    pub(crate) fn is_idle(&self) -> bool {
        let queue = self.queue();
        !queue.awake && queue.waiting.is_empty()
    }

    /// Closes the queue and returns what waits in it.
    pub(crate) fn close(&self) -> VecDeque<Request<A>> {
        let mut queue = self.queue();
        queue.closed = true;
        std::mem::take(&mut queue.waiting)
    }

    /// Drops the requests that their callers have withdrawn, so that retries do not fill the queue of
    /// an actor that still loads.
    pub(crate) fn forget_withdrawn(&self) {
        let mut queue = self.queue();
        let all = std::mem::take(&mut queue.waiting);
        let (withdrawn, waiting): (VecDeque<_>, _) =
            all.into_iter().partition(|request| request.ticket.is_over());
        queue.waiting = waiting;
        drop(queue);
        // Outside the lock, because dropping a command runs user code.
        drop(withdrawn);
    }

    pub(crate) fn set_loading(&self, is_loading: bool) {
        self.is_loading.store(is_loading, Ordering::Relaxed);
    }

    /// The work that keeps the actor from the requests in the queue, for an error message.
    pub(crate) fn busy_with(&self) -> &'static str {
        match self.is_loading.load(Ordering::Relaxed) {
            true => "still loading its events",
            false => "waiting for the store to commit earlier commands",
        }
    }
}
