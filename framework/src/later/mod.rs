//! Deferred commands: stored first, carried out once, their outcome stored as well.
//!
//! A deferred command is an aggregate of its own, [`AcceptedCommand`], in the same log, so there is no
//! second queue that could disagree with it. A [`Reaction`] follows the log and performs the open
//! work, in the process that holds its lease; another one takes over from its checkpoint. Repeating a
//! step is safe: a command and its refusal share one key, and the aggregate keeps the first outcome.

mod accepted;
#[cfg(feature = "webhooks")]
mod callbacks;
mod carry_out;
mod executor;
mod open_commands;
mod owner;
mod reaction;
mod status;
mod term;
#[cfg(test)]
mod tests;
mod work_queue;
mod worker;

pub(crate) use accepted::{Acceptance, Change, Key, NotAccepted};
pub use accepted::{AcceptedCommand, Called, CommandEvent};
#[cfg(feature = "webhooks")]
pub(crate) use callbacks::Callbacks;
pub(crate) use carry_out::{CarriesOut, CarryOut, encode};
pub(crate) use executor::Executor;
pub(crate) use open_commands::{Entered, Full, OpenCommands};
pub(crate) use owner::{Start, start};
pub(crate) use reaction::Reaction;
pub use status::{CallbackState, CallbackStatus, CommandState, CommandStatus};
pub(crate) use worker::Worker;

/// Limit on the events of one command that are read: its outcome, and every callback attempt.
pub(crate) const MOST_EVENTS: usize = 1_000;
