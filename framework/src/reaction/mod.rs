//! The contract between a follower of deferred commands and the work that their events cause.
//!
//! A [`Reaction`] classifies events and performs one item at a time. The term that runs it decides
//! when: it keeps the order within a lane, and shares the places out between clients.

mod follower;
pub(crate) mod handler;
pub(crate) mod open_work;
pub(crate) mod performer;
pub(crate) mod start;
pub(crate) mod start_position;
pub(crate) mod work_queue;
pub(crate) mod worker;

pub(crate) use self::start::{Start, start};
pub use self::start_position::StartPosition;
pub(crate) use self::worker::Worker;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::Instant;

use self::performer::Starts;
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

    /// Longest pause between two attempts. A stored time that is further away was written before the
    /// clock was set back, so it is not waited for.
    fn longest_pause(&self) -> Duration {
        Duration::from_secs(60)
    }

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
    Opens(Opening),
    /// No work is open any more.
    Closes,
}

/// Work that an event opens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) lane: String,
    /// Time before which the work does not start.
    pub(crate) due_at: Option<OffsetDateTime>,
    /// Id of the idempotency key that the work runs under. The store keeps it while the work is open.
    pub(crate) command_key: Option<String>,
    pub(crate) details: Details,
}

impl Opening {
    /// Work in a lane of its own, of an event that this release does not understand.
    pub(crate) fn unclear(id: &str) -> Self {
        let details = Details { is_unclear: true, ..Details::default() };
        Self { lane: id.to_owned(), due_at: None, command_key: None, details }
    }
}

/// Details of an item that are stored in its body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Details {
    pub(crate) destination: Destination,
    /// True if the client requested a callback.
    pub(crate) has_callback: bool,
    /// True if the release that opened the item did not understand its event. Each term reads this
    /// event again, because another release may know which lane the item belongs to.
    pub(crate) is_unclear: bool,
    /// Target of a command that waits for its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scheduled: Option<String>,
}

impl Details {
    pub(crate) fn starts(&self) -> Starts {
        match self.scheduled {
            Some(_) => Starts::WhenDue,
            None => Starts::AtOnce,
        }
    }
}

/// The place that work goes to: places are shared out fairly between clients, and for each client
/// between the endpoints that its work calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Destination {
    /// Client on whose behalf the command was sent, if it is known.
    pub(crate) client: Option<String>,
    /// Origin of the URL that is called; empty for work that stays in the log.
    pub(crate) endpoint: String,
}

impl Destination {
    /// Name that places are shared out by. Work without a client is grouped by endpoint, so that one
    /// endpoint cannot use the places of all of them.
    pub(crate) fn client(&self) -> &str {
        self.client.as_deref().unwrap_or(&self.endpoint)
    }
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
