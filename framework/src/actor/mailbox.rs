//! The queue in front of one aggregate.
//!
//! It stands outside the actor, because an actor's own mailbox cannot refuse when it is full and
//! loses what it holds when the actor ends. The actor gets one wake-up and takes all that waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::running_keys::RunningKey;
use crate::aggregate::Aggregate;
use crate::command::{CommandOptions, Committed};
use crate::error::CommandError;

/// What a caller of `A` is answered.
pub(crate) type Answer<A> = Result<Committed, CommandError<<A as Aggregate>::Error>>;

/// A command on its way, with whom to answer.
pub(crate) struct Request<A: Aggregate> {
    pub(crate) command: A::Command,
    pub(crate) options: CommandOptions,
    pub(crate) reply: oneshot::Sender<Answer<A>>,
    /// Held until the request is answered or dropped.
    pub(crate) permit: OwnedSemaphorePermit,
    /// Its key, under way until the request is answered or dropped.
    pub(crate) running: Option<RunningKey>,
    /// How often it lost the race for its stream.
    pub(crate) conflicts: u32,
}

impl<A: Aggregate> Request<A> {
    /// Answers the caller. One who no longer listens has left; the outcome stands all the same.
    pub(crate) fn answer(self, answer: Answer<A>) {
        // First: who has an answer finds the place free for the next command.
        drop(self.permit);
        if let (Some(running), Ok(committed)) = (self.running, &answer) {
            running.carried_out(*committed);
        }
        let _ = self.reply.send(answer);
    }
}

/// What became of a request offered to a mailbox.
pub(crate) enum Offered {
    /// It waits, and the actor sleeps: wake it.
    Wake,
    /// It waits, and the actor will come for it.
    Awake,
    /// It was not taken, and is dropped.
    Full,
}

pub(crate) struct Mailbox<A: Aggregate> {
    queue: Mutex<Queue<A>>,
    capacity: usize,
}

struct Queue<A: Aggregate> {
    waiting: VecDeque<Request<A>>,
    /// The actor has been woken and has not yet found the queue empty. Set by whoever puts a
    /// request into a sleeping actor's queue; cleared only by the actor, under this lock.
    awake: bool,
}

impl<A: Aggregate> Mailbox<A> {
    pub(crate) fn new(capacity: usize) -> Self {
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), awake: false });
        Self { queue, capacity: capacity.max(1) }
    }

    /// Nothing under the lock can panic half way: it only moves requests.
    fn queue(&self) -> MutexGuard<'_, Queue<A>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn offer(&self, request: Request<A>) -> Offered {
        let mut queue = self.queue();
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

    /// Whether the actor sleeps and nothing waits for it.
    pub(crate) fn is_idle(&self) -> bool {
        let queue = self.queue();
        !queue.awake && queue.waiting.is_empty()
    }
}
