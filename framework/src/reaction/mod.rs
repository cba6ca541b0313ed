//! The contract between a follower of deferred commands and the work that their events cause.
//!
//! A [`Reaction`] classifies events and performs one item at a time. The term that runs it decides
//! when: it keeps the order within a lane, and shares the places out between clients.

mod follower;
pub(crate) mod start;
pub(crate) mod work_queue;
pub(crate) mod worker;

pub(crate) use self::start::{Start, start};
pub(crate) use self::worker::Worker;

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use self::work_queue::Limits;
use crate::event::RecordedEvent;

/// Work caused by the events of deferred commands; each item is performed at least once.
#[async_trait]
pub(crate) trait Reaction: Send + Sync + 'static {
    /// Name of the lease and the checkpoint; it never changes.
    const NAME: &'static str;

    /// Aggregate type whose events it follows.
    const FOLLOWS: &'static str;

    /// Limits on the work that runs at a time.
    const LIMITS: Limits;

    /// Classifies an event of a deferred command.
    fn meaning(&self, event: &RecordedEvent) -> Meaning;

    /// Performs the open work of the command with this id. The work may be done already; then this
    /// finds out. It must not start after `until`, because another process may own it then.
    async fn work(&self, id: &str, until: Instant) -> Worked;
}

/// The meaning of an event for a reaction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Nothing,
    /// Work is open, behind the work that is open in the same lane.
    Opens {
        lane: String,
        destination: Destination,
    },
    /// No work is open any more.
    Closes,
}

/// The place that work goes to: places are shared out fairly between clients, and for each client
/// between the endpoints that its work calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Destination {
    /// Client on whose behalf the command came; empty if unknown.
    pub(crate) client: String,
    /// Origin of the URL that is called; empty for work that stays in the log.
    pub(crate) endpoint: String,
}

/// The result of one attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Worked {
    pub(crate) step: Step,
    pub(crate) health: Health,
}

/// The state of one item after an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Done, and the log says so.
    Done,
    /// To be tried again after this pause, or after one that grows.
    Again(Option<Duration>),
    /// This release cannot perform it, another one may: it stays open, with this reason.
    Unable(String),
}

/// The state of a destination, as far as one attempt shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "only callbacks, a feature, call destinations that can fail")]
pub(crate) enum Health {
    /// Nothing: the destination was not called, or the failure is the message's own.
    Untested,
    /// The destination works.
    Up,
    /// The destination is down or overloaded. It is left alone for this pause.
    Down(Duration),
}

impl From<Step> for Worked {
    fn from(step: Step) -> Self {
        Self { step, health: Health::Untested }
    }
}
