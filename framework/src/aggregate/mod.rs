//! The contract of an aggregate: decide, then fold.
//!
//! An aggregate is the consistency boundary: its commands are decided one after the other, each on
//! the state the one before left. Implement [`Aggregate`] on a plain struct; everything else
//! (loading, storing, retrying, caching) is done for you. Test it with `testing::Scenario`.

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

/// The state of an aggregate as the log had it, with its place in the log. Everything of `A` can be
/// read from it directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<A> {
    /// The fold of the aggregate's events.
    pub state: A,
    /// Version of the last event folded, 0 if there is none.
    pub version: StreamVersion,
    /// Position of the last event folded, 0 if there is none.
    pub position: GlobalPosition,
}

impl<A> Deref for Loaded<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.state
    }
}

/// State that is the fold of its events, and the decisions taken on it.
///
/// `handle` is synchronous and pure on purpose: a decision is a function of state and command.
/// Look up rates, clocks and credit checks before, and let them travel in the command; let outside
/// effects follow from the events. That is what makes tests need no runtime, a retry after a
/// conflict safe, and many commands of one hot aggregate one disk write.
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
/// An instance lives and dies on one thread; it need not be `Send`. It is cloned once for all the
/// commands that wait, because what they decide is folded before it is stored and may not come to
/// be. Let a large state share its parts (`Arc`), if that is felt.
pub trait Aggregate: Default + Clone + 'static {
    /// The stream type: ASCII letters, digits and `_`. It is stored with each event: never change it.
    const TYPE: &'static str;

    /// What can be asked of it. Cloned when a conflict makes it necessary to decide again.
    type Command: Clone + Send + 'static;

    /// Events: a plain serde enum, externally tagged (serde's default). The variant's serde name is
    /// stored as the event type; `#[serde(rename = "…")]` pins it. An event that is not equal to itself
    /// after encoding and decoding (NaN, `Some(None)`, a skipped field) fails its command.
    type Event: Serialize + DeserializeOwned + PartialEq + Send + 'static;

    /// Why it may refuse. Nothing is stored of a refusal.
    type Error: std::error::Error + Send + 'static;

    /// Decides: the events that shall happen, none if there is nothing to do, or a refusal.
    ///
    /// Called once per command, and again on newer state after a conflict.
    ///
    /// # Errors
    /// The refusal, handed to the caller as `CommandError::Refused`.
    fn handle(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// Whether `actor` (the one in the command's metadata, such as `user:ada`) may give this command:
    /// asked before [`Aggregate::handle`], on the same state, so that ownership holds on every way
    /// a command can come. A command without an actor is the program's own and is not asked about.
    ///
    /// # Errors
    /// The refusal. Who may not know that the aggregate exists is refused as if it did not.
    fn authorise(&self, actor: &str, command: &Self::Command) -> Result<(), Self::Error> {
        let _ = (actor, command);
        Ok(())
    }

    /// Folds one event into the state. It has happened: there is nothing to refuse here, and the
    /// result may depend on nothing but the state and the event. A panic here fails the command
    /// that decided the event; for an event that is stored it quarantines the aggregate.
    fn apply(&mut self, event: &Self::Event);

    /// What this event takes or releases of which there may be one in the whole log: a user's name,
    /// an account's number. None by default.
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
    /// Asked once, when the event is about to be stored, and carried out in the same transaction, in
    /// the order given. If another aggregate holds what is taken, nothing of the command is stored and
    /// its caller is told `CommandError::Claimed`, also across processes and however many ask at once.
    /// A release says what was held, so an event has to carry it: `Renamed` has the old name too.
    ///
    /// Events that are stored already are not asked again: one that claims since a later release has
    /// to be stored for each of the older aggregates.
    fn claims(event: &Self::Event) -> Vec<Claim> {
        let _ = event;
        Vec::new()
    }

    /// Keep snapshots, to load long streams faster. Off by default; deleting all snapshots changes
    /// nothing but speed.
    fn snapshots() -> Option<Snapshots<Self>> {
        None
    }

    /// How events written by older releases become today's, oldest step first for each event type.
    fn upcasters() -> Vec<Upcaster> {
        Vec::new()
    }
}
