//! Bounded queue of commands for one aggregate instance.
//!
//! The queue is outside the actor, because an actor's own mailbox cannot refuse when it is full,
//! and loses its messages when the actor ends. The actor gets one wake-up and takes all queued
//! commands. When the actor ends, the mailbox is closed and all its commands get an error.
//!
//! See `docs/decisions.md`, "Why is the queue outside the actor?"

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

/// Result that a caller of `A` gets.
pub(crate) type Answer<A> = Result<Committed, CommandError<<A as Aggregate>::Error>>;

/// A queued command and the channel to its caller.
pub(crate) struct Request<A: Aggregate> {
    pub(crate) command: Isolated<A::Command>,
    pub(crate) options: CommandOptions,
    pub(crate) reply: oneshot::Sender<Answer<A>>,
    /// Permit of admission control, held until the request is finished or dropped.
    pub(crate) permit: Admitted,
    /// Stage of the request. It also holds the running key until the request is finished, withdrawn
    /// or dropped.
    pub(crate) ticket: Arc<Ticket>,
    /// Number of conflicts so far.
    pub(crate) conflicts: u32,
    /// Span of the caller, so that log lines of user code belong to the command.
    pub(crate) span: Span,
}

impl<A: Aggregate> Request<A> {
    /// Replies to the caller. If the caller has gone away, the outcome is still valid.
    pub(crate) fn answer(self, answer: Answer<A>) {
        self.finish(answer).send();
    }

    /// Ends the request and returns the reply for the caller.
    pub(crate) fn finish(self, answer: Answer<A>) -> Reply<A> {
        // Released before the reply is sent, so that the caller's next command finds a free permit.
        drop(self.permit);
        // Without a key nobody else waits for the end of the request, so the ticket need not be
        // finished.
        if self.options.key.is_some() {
            self.ticket.finish(answer.as_ref().ok().copied());
        }
        Reply { to: self.reply, answer }
    }
}

/// The result of a finished request and the channel to its caller.
pub(crate) struct Reply<A: Aggregate> {
    to: oneshot::Sender<Answer<A>>,
    answer: Answer<A>,
}

impl<A: Aggregate> Reply<A> {
    /// Sends the result. If the caller has gone away, the result is dropped.
    pub(crate) fn send(self) {
        if let Err(unheard) = self.to.send(self.answer) {
            // A result may contain a refusal, whose `Drop` is user code.
            drop(Isolated::new(unheard));
        }
    }
}

/// Result of offering a request to a mailbox.
pub(crate) enum Offered<A: Aggregate> {
    /// The request is queued and the actor is idle: send it a wake-up.
    Wake,
    /// The request is queued and the actor is already awake.
    Awake,
    /// The queue is full. The request was dropped.
    Full,
    /// The actor has ended: start another one.
    Closed(Box<Request<A>>),
}

pub(crate) struct Mailbox<A: Aggregate> {
    queue: Mutex<Queue<A>>,
    capacity: usize,
    /// True while the actor reads the stream. Only error messages depend on it.
    is_loading: AtomicBool,
}

struct Queue<A: Aggregate> {
    waiting: VecDeque<Request<A>>,
    /// True from the wake-up until the actor finds the queue empty. Set by a caller that queues a
    /// request for an idle actor; cleared only by the actor, under this lock.
    awake: bool,
    /// True when the actor has ended. Nothing is queued any more.
    closed: bool,
}

impl<A: Aggregate> Mailbox<A> {
    pub(crate) fn new(capacity: usize) -> Self {
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), awake: false, closed: false });
        Self { queue, capacity: capacity.max(1), is_loading: AtomicBool::new(false) }
    }

    /// Code under the lock only moves requests and cannot panic halfway, so a poisoned lock is
    /// still valid.
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

    /// Takes all queued requests. If there are none, and the actor is not `busy` with requests that
    /// it kept, the actor counts as idle from now on.
    pub(crate) fn take(&self, busy: bool) -> VecDeque<Request<A>> {
        let mut queue = self.queue();
        queue.awake = busy || !queue.waiting.is_empty();
        std::mem::take(&mut queue.waiting)
    }

    /// Checks that the actor is idle and the queue is empty.
    pub(crate) fn is_idle(&self) -> bool {
        let queue = self.queue();
        !queue.awake && queue.waiting.is_empty()
    }

    /// Closes the queue and returns the requests in it.
    pub(crate) fn close(&self) -> VecDeque<Request<A>> {
        let mut queue = self.queue();
        queue.closed = true;
        std::mem::take(&mut queue.waiting)
    }

    /// Drops the requests that their callers have withdrawn. Otherwise retries would fill the queue
    /// of an actor that is still loading.
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

    /// Describes, for an error message, why the actor has not reached the queued requests.
    pub(crate) fn busy_with(&self) -> &'static str {
        match self.is_loading.load(Ordering::Relaxed) {
            true => "still loading its events",
            false => "waiting for the store to commit earlier commands",
        }
    }
}
