//! Deferred commands: stored first and carried out once afterwards; the outcome is stored too.
//!
//! A deferred command is an aggregate of its own, [`AcceptedCommand`], in the same log, so there is
//! no second queue that could contradict the log. A [`Reaction`] follows the log and performs the
//! open work, in the process that holds its lease. If that process fails, another one resumes from
//! its checkpoint. Repeating a step is safe, because a command and its refusal share one key and
//! the aggregate keeps the first outcome.
//!
//! See `docs/decisions.md`, "Why is a command that is answered later an event, and not a row in a
//! table of jobs?"

mod accepted;
#[cfg(feature = "webhooks")]
pub(crate) mod callback;
#[cfg(feature = "webhooks")]
mod callbacks;
mod carry_out;
mod executor;
mod open_commands;
mod status;
#[cfg(test)]
mod tests;

pub(crate) use self::accepted::{
    Acceptance, AcceptedCommand, Change, CommandEvent, Key, NotAccepted,
};
#[cfg(feature = "webhooks")]
pub(crate) use self::callbacks::Callbacks;
pub(crate) use self::carry_out::{Carried, CarriesOut, CarryOut, encode};
pub(crate) use self::executor::{Executor, executor_partition, scheduled_target};
pub(crate) use self::open_commands::{Entered, Full, OpenCommands};
pub use self::status::{CallbackState, CallbackStatus, CommandState, CommandStatus};

/// Maximum number of events of one command that are read: its outcome and every callback attempt.
pub(crate) const MOST_EVENTS: usize = 1_000;
