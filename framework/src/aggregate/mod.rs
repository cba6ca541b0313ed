//! Aggregates: the trait, and the runtime that executes their commands.
//!
//! An aggregate is the consistency boundary: its commands are decided one after the other, each on
//! the state that the previous one left. Implement [`Aggregate`] on a plain struct. The runtime
//! loads it, stores its events, retries conflicts and keeps it in memory. Test it with
//! `testing::Scenario`.

pub(crate) mod admission;
pub(crate) mod arbiters;
pub(crate) mod decide;
pub(crate) mod deciding;
pub(crate) mod entity;
pub(crate) mod in_flight;
pub(crate) mod load;
pub(crate) mod mailbox;
pub(crate) mod router;
pub(crate) mod settle;
pub(crate) mod ticket;

pub(crate) use self::admission::Admission;
pub(crate) use self::arbiters::Arbiters;
pub(crate) use self::deciding::Deciding;
pub(crate) use self::in_flight::RunningKeys;
pub(crate) use self::router::{Router, RouterControl};

use std::ops::Deref;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::Claim;
use crate::event::codec::Upcaster;
use crate::event::{GlobalPosition, StreamVersion};
use crate::store::contract::Snapshots;

/// State of an aggregate, with the version and position in the log at which it was read.
/// Dereferences to `A`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<A> {
    /// Fold of the aggregate's events.
    pub state: A,
    /// Version of the last folded event, 0 if there is none.
    pub version: StreamVersion,
    /// Position of the last folded event, 0 if there is none.
    pub position: GlobalPosition,
}

impl<A> Deref for Loaded<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.state
    }
}

/// A consistency boundary: its state is the fold of its events, and its commands are decided on
/// that state.
///
/// `handle` is synchronous and pure: a decision depends only on state and command. Look up exchange
/// rates, clocks and credit checks before, and pass them in the command. Do side effects in an
/// event handler or process manager after the commit. For this reason tests need no runtime, a
/// decision can be repeated after a conflict, and many commands of a hot aggregate share one disk
/// write.
///
/// ```
/// use actum::Aggregate;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Clone)]
/// struct Account {
///     cents: i64,
/// }
///
/// #[derive(Clone)]
/// enum Command {
///     Credit { amount: i64 },
///     Withdraw { amount: i64 },
/// }
///
/// #[derive(PartialEq, Serialize, Deserialize)]
/// enum Event {
///     Credited { amount: i64 },
///     Withdrawn { amount: i64 },
/// }
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("there are only {0} cents")]
/// struct InsufficientFunds(i64);
///
/// impl Aggregate for Account {
///     const TYPE: &'static str = "account";
///     type Command = Command;
///     type Event = Event;
///     type Error = InsufficientFunds;
///
///     fn handle(&self, command: Command) -> Result<Vec<Event>, InsufficientFunds> {
///         match command {
///             Command::Credit { amount } => Ok(vec![Event::Credited { amount }]),
///             Command::Withdraw { amount } if amount > self.cents => {
///                 Err(InsufficientFunds(self.cents))
///             }
///             Command::Withdraw { amount } => Ok(vec![Event::Withdrawn { amount }]),
///         }
///     }
///
///     fn apply(&mut self, event: &Event) {
///         match event {
///             Event::Credited { amount } => self.cents += amount,
///             Event::Withdrawn { amount } => self.cents -= amount,
///         }
///     }
/// }
/// ```
///
/// An instance stays on one thread, so it need not be `Send`. The runtime clones the state once for
/// each round of queued commands that has events: it folds decided events into the copy, and
/// discards the copy if the append fails. If a state is so large that this costs too much, keep its
/// parts in `Arc`s.
pub trait Aggregate: Default + Clone + 'static {
    /// Stream type: 1 to 255 ASCII letters, digits and `_`. It is stored with each event, so it
    /// must never change.
    const TYPE: &'static str;

    /// Commands of the aggregate. A command is cloned for each decision, because a conflict may
    /// require another one.
    type Command: Clone + Send + 'static;

    /// Events: an enum with serde's default (external) tagging. The serde name of a variant is
    /// stored as the event type; `#[serde(rename = "…")]` pins it. A command fails with
    /// `Unstorable` if one of its events is not equal to itself after encoding and decoding (NaN,
    /// `Some(None)`, a skipped field).
    type Event: Serialize + DeserializeOwned + PartialEq + Send + 'static;

    /// Refusals of the aggregate. Of a command that was refused, nothing is stored.
    type Error: std::error::Error + Send + 'static;

    /// Decides a command: returns the events to store, an empty list if there is nothing to do, or
    /// a refusal.
    ///
    /// Called once for each command, and again on newer state after a conflict.
    ///
    /// # Errors
    /// The refusal. The caller gets it as `CommandError::Refused`.
    fn handle(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// Checks that `actor`, from the command's metadata (such as `user:ada`), is allowed to send
    /// this command. Allows every actor by default.
    ///
    /// Called before [`Aggregate::handle`], on the same state, so the check holds however the
    /// command arrives. It is not called for a command without an actor, because such a command
    /// comes from the program itself.
    ///
    /// # Errors
    /// The refusal. If the actor must not know that the aggregate exists, return the refusal for
    /// one that does not exist.
    fn authorise(&self, actor: &str, command: &Self::Command) -> Result<(), Self::Error> {
        let _ = (actor, command);
        Ok(())
    }

    /// Folds one event into the state. The event has already been decided, so it cannot be refused
    /// here. The result must depend on nothing but the state and the event.
    ///
    /// # Panics
    /// A panic on a newly decided event fails the command with `CommandError::Panicked`. A panic on
    /// a stored event quarantines the aggregate, because every load would fail again.
    fn apply(&mut self, event: &Self::Event);

    /// Returns the claims that this event takes or releases: values that are unique in the whole
    /// log, such as a user's name or an account number. None by default.
    ///
    /// ```
    /// # use actum::Claim;
    /// # enum UserEvent { Registered { name: String }, Renamed { from: String, to: String }, Greeted }
    /// fn claims(event: &UserEvent) -> Vec<Claim> {
    ///     match event {
    ///         UserEvent::Registered { name } => vec![Claim::take("user_name", name)],
    ///         UserEvent::Renamed { from, to } => {
    ///             vec![Claim::release("user_name", from), Claim::take("user_name", to)]
    ///         }
    ///         UserEvent::Greeted => vec![],
    ///     }
    /// }
    /// ```
    ///
    /// Called once, when the event is about to be stored. The claims are taken and released in the
    /// same transaction, in this order. If another aggregate holds a value that is to be taken,
    /// nothing of the command is stored and the caller gets `CommandError::Claimed`. This holds
    /// across processes and under any concurrency. A release needs the value that was held, so an
    /// event has to carry it: `Renamed` has the old name too.
    ///
    /// The method is not called again for stored events. To add a claim in a later release, store
    /// an event that takes it for each existing aggregate.
    fn claims(event: &Self::Event) -> Vec<Claim> {
        let _ = event;
        Vec::new()
    }

    /// Snapshot policy, to load long streams faster. None by default. Snapshots may be deleted at
    /// any time; only the loading time changes.
    fn snapshots() -> Option<Snapshots<Self>> {
        None
    }

    /// Upcasters that turn events of older releases into current ones, oldest step first for each
    /// event type. None by default.
    fn upcasters() -> Vec<Upcaster> {
        Vec::new()
    }
}
