//! The error of an operator's request: its variants are the reasons why it was not carried out.
//!
//! It belongs to `error.rs`, which has the other errors, and each variant says what to do.

use super::StoreError;
use crate::event::GlobalPosition;

/// Reason why an operator's request was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OperationError {
    /// Nothing has this name, or not this version. Look at the names in the status (404).
    #[error("no read model or projection is known as {name}")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// No deferred command has this id (404).
    #[error("there is no command {id}")]
    UnknownCommand {
        /// Id that was given.
        id: String,
    },
    /// The version has not caught up yet: reads would go back in time. Ask again later (409).
    #[error("{name} has saved up to position {position}, the log ends at {head}")]
    Behind {
        /// The version.
        name: String,
        /// Where it is.
        position: GlobalPosition,
        /// Where it has to be.
        head: GlobalPosition,
    },
    /// The version serves: let another one serve before this one is dropped (409).
    #[error("{name} serves; let another version serve first")]
    Serves {
        /// The version.
        name: String,
    },
    /// The key is not parked, or not at the event that was meant. Look again (404).
    #[error("{model} has not parked {key:?}, or not at this event")]
    NotParked {
        /// The versioned name.
        model: String,
        /// The key.
        key: String,
    },
    /// Another process runs this version: stop it, or wait until its leases have expired (409).
    #[error("{name} is run by another process; stop that process first")]
    Running {
        /// The version.
        name: String,
    },
    /// No key or reason holds this character (400).
    #[error("a {what} has no NUL character")]
    Nul {
        /// `key` or `reason`.
        what: &'static str,
    },
    /// To leave an event out for good takes a reason, which is kept (422).
    #[error("to skip an event takes a reason, which is kept")]
    NoReason,
    /// The store did not answer. Retry after a pause (503).
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}
