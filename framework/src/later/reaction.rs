//! The contract between what follows the log and what is done about it.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::event::RecordedEvent;

/// What is done about events of accepted commands, at least once each.
#[async_trait]
pub(crate) trait Reaction: Send + Sync + 'static {
    /// What its lease and its checkpoint are named by; it never changes.
    const NAME: &'static str;

    /// What an event of an accepted command means for it.
    fn meaning(&self, event: &RecordedEvent) -> Meaning;

    /// Does what is open for the command of this id. It may be done already: then it finds out. Not
    /// to be begun after `until`: somebody else may do it then.
    async fn work(&self, id: &str, until: Instant) -> Step;
}

/// What an event means for a reaction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Nothing,
    /// There is something to do, after what is open in the same lane.
    Opens {
        lane: String,
    },
    /// There is nothing more to do.
    Closes,
}

/// What came of trying.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is done, and the log says so.
    Done,
    /// To be tried again: after so long, or with a pause that grows.
    Again(Option<Duration>),
}
