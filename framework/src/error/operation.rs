//! Error of an operator's request. The variants are the reasons why the request was not carried
//! out.
//!
//! The other errors are in `error.rs`.

use super::StoreError;
use crate::event::GlobalPosition;

/// Error of an operator's request: it was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// No read model, projection, event handler or process manager that can do this has this name and
    /// version. Look up the names in the status (404).
    #[error("nothing that follows the log and can do this is named {name}")]
    Unknown {
        /// Name that was requested.
        name: String,
    },
    /// No deferred command has this id (404).
    #[error("there is no command {id}")]
    UnknownCommand {
        /// Id that was requested.
        id: String,
    },
    /// The process manager has no instance with this key yet (404).
    #[error("{name} has no instance {key:?}")]
    UnknownInstance {
        /// Name of the process manager.
        name: String,
        /// Key that was requested.
        key: String,
    },
    /// The version has not caught up yet, so reads would go back in time. Retry later (409).
    #[error(
        "{name} has not caught up: it is saved up to position {position}, and the head of the log \
         is {head}"
    )]
    Behind {
        /// Name and version.
        name: String,
        /// Position that the version has saved.
        position: GlobalPosition,
        /// Position that it has to reach.
        head: GlobalPosition,
    },
    /// This is the active version of its name. Activate another version before you drop this one
    /// (409).
    #[error("{name} is the active version; activate another version first")]
    Serves {
        /// Name and version.
        name: String,
    },
    /// The key is not parked, or is parked at another event. Look up the parked keys again (404).
    #[error("{model}: the key {key:?} is not parked, or is parked at another event")]
    NotParked {
        /// Versioned name of the read model or projection, such as `balance@2`.
        model: String,
        /// Key that was requested.
        key: String,
    },
    /// Another process runs this version. Stop that process, or wait until its leases have expired
    /// (409).
    #[error("{name} is run by another process; stop that process first")]
    Running {
        /// Name and version.
        name: String,
    },
    /// The handler runs, so events cannot be handled again. Pause it first, and wait until it stands
    /// still (409).
    #[error("{name} runs; pause it first, and wait until it stands still")]
    NotPaused {
        /// Name and version.
        name: String,
    },
    /// Only an event handler can handle events again. Do what the message says instead (422).
    #[error("{name} cannot be replayed: {instead}")]
    NotReplayable {
        /// Name and version.
        name: String,
        /// The reason, and the way to what a replay would be for.
        instead: &'static str,
    },
    /// The handler has not come so far, or the log has no such position. A replay only goes back
    /// (422).
    #[error(
        "{name} has handled events up to position {reached}, so it cannot handle those after \
         {position} again; name an earlier position"
    )]
    ReplayPosition {
        /// Name and version.
        name: String,
        /// Position that was requested.
        position: GlobalPosition,
        /// Position that the handler has reached.
        reached: GlobalPosition,
    },
    /// A key or reason must not contain a NUL character (400).
    #[error("a {what} must not contain a NUL character")]
    Nul {
        /// `key` or `reason`.
        what: &'static str,
    },
    /// The request requires a reason, which is stored or logged (422).
    #[error("a reason is required")]
    NoReason,
    /// The store is not available. Retry after a pause (503).
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}
