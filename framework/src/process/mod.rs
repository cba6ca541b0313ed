//! Process managers: stories that span aggregates, such as a transfer between two accounts.
//!
//! A process manager is a pure fold, like a read model: events become the state of an instance. It also
//! puts out effects: commands to execute and deadlines to wait for. State, deadlines and open commands
//! are saved in one transaction with the checkpoint. Each command has an id that follows from the event
//! that caused it, so it takes effect once, however often the event is folded. Whatever becomes of a
//! command comes back as an input through the log, so the log alone decides what the state is.
//!
//! See `docs/decisions.md`, "How does a process manager act exactly once?"

mod correlation;
mod effects;
mod follower;
pub(crate) mod input;
pub(crate) mod instance;
mod perform;
#[cfg(feature = "testing")]
mod shown;
mod start;
mod story;
#[cfg(test)]
mod tests;

pub use self::correlation::Correlation;
pub use self::effects::Effects;
pub(crate) use self::input::ProcessInputs;
pub use self::input::{Refused, Step};
pub(crate) use self::perform::Dispatcher;
pub(crate) use self::start::{Start, start};
pub(crate) use self::story::story;
pub use self::story::{Story, StoryStep};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aggregate::Aggregate;
use crate::event::EventEnvelope;

/// A story that spans aggregates: events in, commands and deadlines out. Pure and synchronous.
///
/// An instance begins with the first event of its key. Its state is saved with the checkpoint, and
/// [`Effects`] take effect once each, even if processes die between any two steps. An event that it
/// cannot handle, a panic included, parks its key and no other.
///
/// Never change what a stored event leads to while instances are under way: an event may be folded again
/// after a crash, and a command that was carried out already is not carried out again in another form.
///
/// ```
/// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
/// # use tour::{Account, Command, Event};
/// # use serde::{Deserialize, Serialize};
/// # impl actum::RefusalCode for tour::InsufficientFunds {}
/// use std::time::Duration;
///
/// use actum::{Correlation, Effects, EventEnvelope, ProcessManager, Reacts, Refused};
///
/// /// Charges a fee of one euro thirty days after an account was first used.
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// struct Fee { is_due: bool }
///
/// impl ProcessManager for Fee {
///     const NAME: &'static str = "fee";
///     type Deadline = ();
///
///     fn correlation() -> Correlation<Self> {
///         Correlation::starts::<Account>().commands::<Account>()
///     }
///
///     fn refused(&mut self, _: &Refused, effects: &mut Effects<Self>) {
///         effects.complete(); // nobody pays a fee from an empty account
///     }
///
///     fn due(&mut self, (): (), effects: &mut Effects<Self>) {
///         effects.execute::<Account>(effects.key().to_owned(), &Command::Withdraw { cents: 100 });
///     }
/// }
///
/// impl Reacts<Account> for Fee {
///     fn on(&mut self, event: &EventEnvelope<Event>, effects: &mut Effects<Self>) {
///         if !std::mem::replace(&mut self.is_due, true) {
///             let month = Duration::from_secs(30 * 24 * 60 * 60);
///             effects.deadline("fee", event.recorded_at + month, &());
///         }
///     }
/// }
/// ```
///
/// Register it with [`ApplicationBuilder::process_manager`](crate::ApplicationBuilder::process_manager).
pub trait ProcessManager:
    Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Name in the database, in logs and in errors: 1 to 100 letters, digits and `_`. Never change it:
    /// another name is another process manager, which begins at the start of the log.
    const NAME: &'static str;

    /// Number of partitions that the instances are divided into by their keys, at most 1024. Fixed
    /// for the life of the process manager.
    const PARTITIONS: u32 = 1;

    /// Data of a deadline. Stored as JSON, so a later release must be able to read it.
    type Deadline: Serialize + DeserializeOwned;

    /// Events that it follows, the instance that each belongs to, and the aggregates it commands.
    fn correlation() -> Correlation<Self>;

    /// Handles the refusal of a command, or its failure. Nothing of the command was stored, and nothing
    /// of it ever will be.
    fn refused(&mut self, refused: &Refused, effects: &mut Effects<Self>);

    /// Handles a deadline that was reached and was not cancelled or replaced before.
    fn due(&mut self, deadline: Self::Deadline, effects: &mut Effects<Self>);

    /// Handles a command that was carried out and stored no event. Without it, an instance that waits
    /// for an event of the command would wait for ever. The default does nothing.
    fn unchanged(&mut self, _step: &Step, _effects: &mut Effects<Self>) {}
}

/// Handling of the events of one aggregate by a [`ProcessManager`].
pub trait Reacts<A: Aggregate>: ProcessManager {
    /// Folds the event into the state of its instance, and puts out effects. The result may depend on
    /// nothing but the state and the event. [`Effects::key`] is the key of the instance.
    fn on(&mut self, event: &EventEnvelope<A::Event>, effects: &mut Effects<Self>);
}
