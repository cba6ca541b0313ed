//! Commands that are answered later: stored first, carried out once, their outcome stored as well.
//!
//! An accepted command is an aggregate of its own, [`AcceptedCommand`], in the same log: there is no
//! second queue that could disagree with it, and its history tells all that became of it. A
//! [`Reaction`] follows the log and does what is open, in the one process that holds
//! its lease; another takes over from its checkpoint when that process dies. Whatever is done twice on
//! the way has an effect once: a command by its key, an outcome by the aggregate.

mod accepted;
mod agenda;
#[cfg(feature = "webhooks")]
mod callbacks;
mod carry_out;
mod executor;
mod owner;
mod reaction;
mod status;
mod term;

pub(crate) use accepted::{Acceptance, Change, Key, NotAccepted};
pub use accepted::{AcceptedCommand, Called, CommandEvent};
#[cfg(feature = "webhooks")]
pub(crate) use callbacks::Callbacks;
pub(crate) use carry_out::{CarriesOut, CarryOut};
pub(crate) use executor::Executor;
pub(crate) use owner::{Start, start};
pub(crate) use reaction::Reaction;
pub use status::{CallbackState, CallbackStatus, CommandState, CommandStatus};

/// The most events of one command that are read: its outcome, and every attempt to call back.
pub(crate) const MOST_EVENTS: usize = 1_000;
