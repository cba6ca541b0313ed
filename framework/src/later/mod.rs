//! Commands that are answered later: stored first, carried out once, their outcome stored as well.
//!
//! An accepted command is an aggregate of its own, [`AcceptedCommand`], in the same log: there is no
//! second queue that could disagree with it, and its history tells all that became of it. A
//! [`Reaction`](reaction::Reaction) follows the log and does what is open, in the one process that holds
//! its lease; another takes over from its checkpoint when that process dies. Whatever is done twice on
//! the way has an effect once: a command by its key, an outcome by the aggregate.

mod accepted;
mod agenda;
mod carry_out;
mod executor;
mod owner;
mod reaction;
mod status;
mod term;

pub(crate) use accepted::{Acceptance, Change, Key, NotAccepted};
pub use accepted::{AcceptedCommand, CommandEvent};
pub(crate) use carry_out::{CarriesOut, CarryOut};
pub(crate) use executor::Executor;
pub(crate) use owner::{Start, start};
pub use status::{CommandState, CommandStatus};
