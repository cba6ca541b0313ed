//! Error types, one per layer. The documentation of each variant says what the caller should do.
//!
//! - [`StoreError`]: the store could not read or write.
//! - [`CommandError`]: a command was not carried out, or its outcome is unknown.
//! - [`ReadError`]: a read model or projection could not be read.
//! - [`OperationError`]: a request of an operator was not carried out.
//! - [`StartError`]: the application did not start.
//!
//! No variant contains a secret. Numbers in parentheses are the HTTP status that the web edge
//! returns.

mod operation;
mod start;

use std::time::Duration;

pub use self::operation::OperationError;
pub use self::start::StartError;
pub use crate::box_error::BoxError;
use crate::command::{Claim, InvalidCommandId};
use crate::event::{GlobalPosition, InvalidStreamId, StreamId, StreamVersion};

/// Error of a store: a read or write failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached, is busy or is full. Nothing was stored. Retry later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Positions or versions have a gap or a duplicate. Stop the application and examine the
    /// database: another program changed the log, or the storage lost rows.
    #[error(
        "{what} {found} follows {after}, but {} was expected: events are missing or duplicated. \
         Stop the application and examine the database",
        .after + 1
    )]
    Hole {
        /// `position`, or the stream whose versions are not dense.
        what: String,
        /// Last correct number.
        after: u64,
        /// Number that came after it.
        found: u64,
    },
    /// A stored row cannot be decoded. Examine the row that the message names.
    #[error("corrupt data at {place}: {reason}")]
    Corrupt {
        /// Stream and version, or table and key.
        place: String,
        /// Reason why the row cannot be decoded.
        reason: String,
    },
    /// A checkpoint does not belong to this log or would move backwards. Nothing was stored.
    /// Restore the checkpoint and the log from the same backup, or build the read model again under
    /// a new `VERSION`.
    #[error("the checkpoint of {name} does not fit the log: {reason}")]
    Checkpoint {
        /// Versioned name of the read model, such as `balance@2`.
        name: String,
        /// Reason why the checkpoint does not fit.
        reason: String,
    },
    /// Another process took over the lease under which this one wrote. Nothing was stored. The
    /// runtime steps down automatically.
    #[error("the lease {name} is lost: another process has taken over")]
    LeaseLost {
        /// Name of the lease.
        name: String,
    },
    /// The database does not have the history that this process knows: it was rewound, restored or
    /// replaced, or a failover lost the end of the log. Nothing was stored. Find out which
    /// acknowledged events are lost, then restart the process.
    #[error("the database has another history than this process knows: {0}")]
    OtherHistory(String),
    /// The reply to a write was lost, and the store has not been reached again yet. The writer
    /// keeps trying. Retry with the same ids to learn the outcome.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
}

/// Error of a command: it was not carried out, or its outcome is unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError<E> {
    /// The aggregate refused the command. Nothing was stored. Show the refusal to the user (its own
    /// status, 422 by default).
    #[error("refused: {0}")]
    Refused(E),
    /// The aggregate does not have the version that the caller expected. Nothing was stored. Read
    /// it again and decide whether the command still makes sense (412).
    #[error("{stream} is at version {actual}, which is not the expected version")]
    NotExpected {
        /// The aggregate.
        stream: StreamId,
        /// Current version of the aggregate.
        actual: StreamVersion,
    },
    /// Other writers appended first each time the command was decided
    /// (`Settings::conflict_retries`). The aggregate still meets the version that the caller
    /// expected, if any. Nothing was stored. Retry (409).
    #[error(
        "conflict: other writers appended to {stream}, which is at version {actual} now; retry \
         the command"
    )]
    Conflict {
        /// The aggregate.
        stream: StreamId,
        /// Current version of the aggregate.
        actual: StreamVersion,
    },
    /// Another command with this key is still running in this process. Retry after a pause (409).
    #[error("a command with this key is still running; retry later")]
    StillRunning,
    /// The key was already used for another request. Nothing was stored. A mistake of the client:
    /// use a new key for a new request (422).
    #[error("the command id {id:?} was already used for another request; use a new id")]
    KeyReused {
        /// Id of the key.
        id: String,
    },
    /// Another aggregate holds a value that the command's events claim. Nothing was stored. Choose
    /// another value (409). Show `holder` only to those who are allowed to know it.
    #[error("{claim} is taken")]
    Claimed {
        /// Claim that was refused.
        claim: Claim,
        /// Stream of the aggregate that holds the value.
        holder: StreamId,
    },
    /// Too many commands, or bytes of commands, are queued, or the command's `decide_by` has
    /// passed. This attempt stored nothing. Retry after a pause (503).
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// A deferred command with this key was refused or failed earlier, and that outcome is final.
    /// Nothing was stored. Show it to the user, or send the command under another key (HTTP: the
    /// field `status`).
    #[error("{detail}")]
    RefusedBefore {
        /// Name of the refusal for programs.
        code: String,
        /// Description for people.
        detail: String,
        /// HTTP status of the outcome: that of the refusal, such as 404, or 500 for a failure.
        status: u16,
    },
    /// The client has too many open deferred commands. Nothing was stored. Retry when some of them
    /// are done (429).
    #[error("limit of the client reached: {0}")]
    ClientLimit(&'static str),
    /// The store is not available, or the command was not decided in time. This attempt stored
    /// nothing, but an earlier one with the same key may have. Retry after a pause with the same
    /// key (503).
    #[error(transparent)]
    Unavailable(StoreError),
    /// The timeout ended after the command was decided. The command may or may not be carried out.
    /// Retry with the same key to learn the outcome (503).
    #[error("the outcome is not known yet: retry with the same command id")]
    Unknown,
    /// The stored events cannot be folded into the aggregate's state, so no command can be decided.
    /// Fix the code or the data; a retry alone does not help (500).
    #[error("{stream} cannot be loaded: {reason}")]
    Quarantined {
        /// The aggregate.
        stream: StreamId,
        /// Position and type of the event, and the reason.
        reason: String,
    },
    /// The aggregate's code panicked. Nothing was stored, and its state in memory was discarded.
    /// Fix the code (500).
    #[error("the aggregate {stream} panicked: {message}")]
    Panicked {
        /// The aggregate.
        stream: StreamId,
        /// Message of the panic.
        message: String,
    },
    /// An event cannot be stored: it is not an externally tagged enum variant, does not decode to
    /// an equal event, or is too large. Fix the event type (500).
    #[error("an event of {stream} cannot be stored: {reason}")]
    Unstorable {
        /// The aggregate.
        stream: StreamId,
        /// Reason why the event cannot be stored.
        reason: String,
    },
    /// The id contains characters that are not allowed, or is empty or too long (400).
    #[error(transparent)]
    InvalidId(#[from] InvalidStreamId),
    /// The command id is empty, too long, or contains a control character (400).
    #[error(transparent)]
    InvalidKey(#[from] InvalidCommandId),
    /// The aggregate type was not registered with the application. Register it with the builder
    /// (500).
    #[error("the aggregate type {0} is not registered: add .aggregate::<…>() to the builder")]
    NotRegistered(&'static str),
    /// The application is shutting down. Nothing was stored. Retry later, or with another process
    /// (503).
    #[error("the application is stopping")]
    Stopping,
}

impl<E> CommandError<E> {
    /// Converts the error for a caller that uses another error type for refusals.
    pub(crate) fn map_refused<T>(
        self,
        meaning: impl FnOnce(E) -> CommandError<T>,
    ) -> CommandError<T> {
        match self {
            Self::Refused(refusal) => meaning(refusal),
            Self::NotExpected { stream, actual } => CommandError::NotExpected { stream, actual },
            Self::Conflict { stream, actual } => CommandError::Conflict { stream, actual },
            Self::StillRunning => CommandError::StillRunning,
            Self::Claimed { claim, holder } => CommandError::Claimed { claim, holder },
            Self::KeyReused { id } => CommandError::KeyReused { id },
            Self::Overloaded(what) => CommandError::Overloaded(what),
            Self::RefusedBefore { code, detail, status } => {
                CommandError::RefusedBefore { code, detail, status }
            }
            Self::ClientLimit(what) => CommandError::ClientLimit(what),
            Self::Unavailable(error) => CommandError::Unavailable(error),
            Self::Unknown => CommandError::Unknown,
            Self::Quarantined { stream, reason } => CommandError::Quarantined { stream, reason },
            Self::Panicked { stream, message } => CommandError::Panicked { stream, message },
            Self::Unstorable { stream, reason } => CommandError::Unstorable { stream, reason },
            Self::InvalidId(error) => CommandError::InvalidId(error),
            Self::InvalidKey(error) => CommandError::InvalidKey(error),
            Self::NotRegistered(what) => CommandError::NotRegistered(what),
            Self::Stopping => CommandError::Stopping,
        }
    }
}

/// Error of a read: the read model or projection did not return a result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No document has this key (404).
    #[error("{model} has no document {key:?}")]
    NotFound {
        /// Name of the read model.
        model: &'static str,
        /// Key that was read.
        key: String,
        /// Position up to which the result reflects the log.
        reflects: GlobalPosition,
    },
    /// The read model did not reach the requested position within the timeout, so the document
    /// would be older than requested. Retry (504).
    #[error(
        "{model} has reached position {reached} after {waited:?}, but {wanted} was requested; {}",
        .paused.as_deref().unwrap_or("retry later")
    )]
    NotYet {
        /// Name of the read model.
        model: &'static str,
        /// Position that was requested.
        wanted: GlobalPosition,
        /// Position that the read model has reached.
        reached: GlobalPosition,
        /// Time that the read waited.
        waited: Duration,
        /// The pause of the read model in words, if an operator has paused it: since when, and why.
        paused: Option<String>,
    },
    /// The read model has halted at an event that it cannot apply. Fix the code or the data (503).
    #[error("{model} halted at position {position}: {reason}")]
    Halted {
        /// Name of the read model.
        model: &'static str,
        /// Position of the event that cannot be applied.
        position: GlobalPosition,
        /// Reason why it cannot be applied.
        reason: String,
    },
    /// The key is parked: an event cannot be applied to the document, so the document would be
    /// older than requested. Fix the code, or skip the event with `Operations::skip_parked` (503).
    #[error("{model} has parked {key:?} at position {position}: {reason}")]
    Parked {
        /// Name of the read model.
        model: &'static str,
        /// Key that was read.
        key: String,
        /// Position of the event that cannot be applied.
        position: GlobalPosition,
        /// Reason why it cannot be applied.
        reason: String,
        /// Position up to which the result reflects the log.
        reflects: GlobalPosition,
    },
    /// The query's own code failed. Fix it (500).
    #[error("a query of {model} failed: {reason}")]
    Failed {
        /// Name of the projection.
        model: &'static str,
        /// Error message of the query.
        reason: String,
    },
    /// The store is not available. Retry after a pause (503).
    #[error(transparent)]
    Unavailable(#[from] StoreError),
    /// Too many reads of this model are waiting. Retry after a pause (503).
    #[error("overloaded: too many reads of {0} are waiting")]
    Overloaded(&'static str),
    /// The limit of live streams is reached (`Settings::live_streams`). Retry when others have
    /// ended (503).
    #[error(
        "the limit of live streams is reached; raise Settings::live_streams, or close a stream"
    )]
    NoLiveStream,
    /// The read model or projection was not registered with the application. Register it with the
    /// builder (500).
    #[error("{0} is not registered: add .read_model::<…>() or .projection::<…>() to the builder")]
    NotRegistered(&'static str),
    /// The id contains characters that are not allowed, or is empty or too long (400).
    #[error(transparent)]
    InvalidId(#[from] InvalidStreamId),
    /// The follower was too slow, and changes were dropped. Read the current documents again, then
    /// follow again (503).
    #[error(
        "changes of {model} after position {after} were dropped, because the follower was too \
         slow. Read the documents again"
    )]
    Lost {
        /// Name of the read model.
        model: &'static str,
        /// Position of the last change that was not dropped.
        after: GlobalPosition,
    },
    /// The application is shutting down. Retry later, or with another process (503).
    #[error("the application is stopping")]
    Stopping,
}
