//! The contract of an event handler: code of yours that acts outside the database because of events.
//!
//! A handler runs at least once for each event and in order for each key, from a checkpoint that never
//! passes an event that was not handled, unless its key is parked. Many keys run at a time.
//!
//! See `docs/decisions.md`, "How far may the checkpoint of an event handler go?"

mod attempt;
mod follower;
mod parked;
mod settle;
mod start;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use self::start::{StartHandler, start_handler};

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::BoxError;
use crate::event::RecordedEvent;
use crate::subscription::sources::EventSources;

/// Code that acts outside the database because of events, such as sending a mail.
///
/// [`handle`](Self::handle) is called at least once for each event: after a crash, an event that was
/// handled may come again. Pass the event's id to the other system as its idempotency key, so that the
/// effect happens once.
///
/// Events of one key come one after the other, in the order of the log. Different keys run at the same
/// time. The key is the id of the event's aggregate, unless the sources name another one.
///
/// An operator can pause a handler, and have it handle events again from a position on; see
/// [`Operations::pause`](crate::operations::Operations::pause) and
/// [`Operations::replay`](crate::operations::Operations::replay).
///
/// ```
/// # use actum::Aggregate;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Clone)] struct Account;
/// # #[derive(PartialEq, Serialize, Deserialize)] enum AccountEvent { Opened { owner: String } }
/// # impl Aggregate for Account {
/// #     const TYPE: &'static str = "account";
/// #     type Command = (); type Event = AccountEvent; type Error = std::fmt::Error;
/// #     fn handle(&self, _: ()) -> Result<Vec<AccountEvent>, std::fmt::Error> { Ok(vec![]) }
/// #     fn apply(&mut self, _: &AccountEvent) {}
/// # }
/// # struct Mailer;
/// # impl Mailer {
/// #     async fn send(&self, _: &str, _: uuid::Uuid) -> Result<(), std::io::Error> { Ok(()) }
/// # }
/// use actum::{Attempt, BoxError, EventEnvelope, EventHandler, EventSources};
///
/// struct WelcomeMail {
///     mailer: Mailer,
/// }
///
/// #[async_trait::async_trait]
/// impl EventHandler for WelcomeMail {
///     const NAME: &'static str = "welcome_mail";
///     type Event = EventEnvelope<AccountEvent>;
///
///     fn sources() -> EventSources<Self::Event> {
///         EventSources::of::<Account>()
///     }
///
///     async fn handle(&self, event: &Self::Event, attempt: &Attempt) -> Result<(), BoxError> {
///         let AccountEvent::Opened { owner } = &event.event;
///         // The same id in each attempt, so that nobody is welcomed twice.
///         self.mailer.send(owner, attempt.event.event_id).await?;
///         Ok(())
///     }
/// }
/// ```
///
/// Register it with [`ApplicationBuilder::event_handler`](crate::ApplicationBuilder::event_handler).
#[async_trait]
pub trait EventHandler: Send + Sync + 'static {
    /// Name in the database, in logs and in errors: lower-case letters, digits and `_`. Never change
    /// it, because a handler of another name starts anew.
    const NAME: &'static str;

    /// Number of partitions that the keys are divided into, each handled by one process at a time.
    /// Fixed for the life of the handler.
    const PARTITIONS: u32 = 1;

    /// Event that it handles: the envelope `EventEnvelope<AccountEvent>`, or an enum of your own with
    /// a `From` for the envelope of each aggregate it follows.
    type Event: Send + Sync + 'static;

    /// Sources that it follows: `EventSources::of::<Account>()`, and `.and::<Transfer>()` for more.
    fn sources() -> EventSources<Self::Event>;

    /// Acts because of an event. It must not block its thread: use `tokio::task::spawn_blocking` for
    /// code that does.
    ///
    /// # Errors
    /// The event was not handled. It is tried again after a pause, and after the last attempt its key
    /// is parked. The error is shown with the parked key.
    async fn handle(&self, event: &Self::Event, attempt: &Attempt) -> Result<(), BoxError>;

    /// Limits and pauses of this handler.
    fn settings(&self) -> HandlerSettings {
        HandlerSettings::default()
    }
}

/// One attempt to handle an event.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Attempt {
    /// Attempt number, starting at 1. Attempts that a crash interrupted may not be counted.
    pub number: u32,
    /// The event as the log stores it. Its id is the idempotency key, together with the key of the
    /// event if the sources name several. Its metadata has the correlation id and the actor.
    pub event: Arc<RecordedEvent>,
}

impl Attempt {
    /// Creates an attempt, for example to test a handler without an application.
    pub fn new(number: u32, event: Arc<RecordedEvent>) -> Self {
        Self { number, event }
    }
}

/// Limits and pauses of an [`EventHandler`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerSettings {
    /// Timeout of one attempt. An attempt that takes longer is cancelled and counts as failed. The
    /// default is 30 s.
    pub timeout: Duration,
    /// Number of attempts after which the key is parked, at least 1. The default is 5.
    pub attempts: u32,
    /// Pause after the first failed attempt, which doubles up to `longest_pause`. Up to a tenth is
    /// added to each pause, so that events that failed together are not all retried together. The
    /// default is 200 ms.
    pub first_pause: Duration,
    /// See `first_pause`. The default is 10 s.
    pub longest_pause: Duration,
    /// Number of keys of a partition that are handled at the same time, at least 1. The default is 64.
    pub at_once: usize,
}

impl Default for HandlerSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            attempts: 5,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
            at_once: 64,
        }
    }
}
