//! Errors, one type per layer; each variant says what the caller should do.
//!
//! [`StoreError`]: the log could not be read, or a side table not written. [`CommandError`]: a
//! command was not carried out, or it is not known whether. [`ReadError`]: a read model could not
//! answer. [`OperationError`]: an operator's request was not carried out. [`StartError`]: the application did not start. No variant carries a secret.

mod operation;
mod start;

use std::time::Duration;

pub use self::operation::OperationError;
pub use self::start::StartError;
pub use crate::box_error::BoxError;
use crate::command::{Claim, InvalidCommandId};
use crate::event::{GlobalPosition, InvalidStreamId, StreamId, StreamVersion};

/// A store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, is busy or is full. Nothing was stored; retry later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Positions or versions that must be dense are not. Stop and look: the log was changed by
    /// other hands or its storage lost rows.
    #[error("{what} {found} follows {after} where {} was due: events are missing or doubled", .after + 1)]
    Hole {
        /// `position`, or the stream whose versions jump.
        what: String,
        /// The last good one.
        after: u64,
        /// What came next.
        found: u64,
    },
    /// A stored row cannot be read back. Stop and look; the message names the place.
    #[error("corrupt data at {place}: {reason}")]
    Corrupt {
        /// Stream and version, or table and key.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint does not belong to this log or would move backwards. Nothing was stored.
    #[error("the checkpoint of {name} does not fit the log: {reason}")]
    Checkpoint {
        /// The read model's versioned name.
        name: String,
        /// What does not fit.
        reason: String,
    },
    /// Another process has taken over what this one wrote under the lease; nothing was stored.
    #[error("the lease {name} is lost: another process has taken over")]
    LeaseLost {
        /// The lease's name.
        name: String,
    },
    /// The database no longer holds the history that this process knows: it was rewound, restored or
    /// exchanged, or a failover lost its end. Nothing was stored. Start the process again, once you know
    /// which acknowledged events are lost.
    #[error("the log is not the one this process knows: {0}")]
    OtherHistory(String),
    /// A write's reply was lost and the store could not be asked again yet. The writer keeps
    /// trying; retry with the same ids to learn the outcome.
    #[error("it is not known whether the write was stored: {0}")]
    Unknown(String),
}

/// A command was not carried out, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum CommandError<E> {
    /// The aggregate refused. Nothing was stored. Tell the user (HTTP 422).
    #[error("refused: {0}")]
    Refused(E),
    /// The aggregate is not at the version the caller expected. Nothing was stored. Read again and
    /// decide again (412).
    #[error("{stream} is at version {actual}, not as expected")]
    NotExpected {
        /// The aggregate.
        stream: StreamId,
        /// Its version now.
        actual: StreamVersion,
    },
    /// Others kept winning the race for the aggregate, and the caller expected nothing of its
    /// version. Nothing was stored. Try again (409).
    #[error("others were faster: {stream} is at version {actual} now")]
    Conflict {
        /// The aggregate.
        stream: StreamId,
        /// Its version now.
        actual: StreamVersion,
    },
    /// A command with this key is still under way in this process. Ask again after a pause (409).
    #[error("a command with this id is still under way")]
    StillRunning,
    /// The key was used before for another request. Nothing was stored. A client's mistake (422).
    #[error("the command id {id:?} was used before for another request")]
    KeyReused {
        /// The id.
        id: String,
    },
    /// Another aggregate holds what the command's events claim. Nothing was stored. Ask for
    /// another value (409), and tell `holder` only to those who may know it.
    #[error("{claim} is taken")]
    Claimed {
        /// What was to be taken.
        claim: Claim,
        /// The aggregate that holds it.
        holder: StreamId,
    },
    /// Too much is queued. This attempt stored nothing. Retry after a pause (503).
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// A deferred command with this key was refused or failed before, and that outcome is final.
    /// Nothing was stored. Tell the user, or send the command under another key (`status`).
    #[error("{detail}")]
    RefusedBefore {
        /// Name of the refusal, for programs.
        code: String,
        /// Sentence for people.
        detail: String,
        /// HTTP status of the outcome: of the refusal itself, such as 404, and 500 for a failure.
        status: u16,
    },
    /// The client has too much open. Nothing was stored. Retry after some of it is done (429).
    #[error("over the client's limit: {0}")]
    ClientLimit(&'static str),
    /// The store did not take it, or it was not decided in time. This attempt stored nothing; an
    /// earlier one with the same key may have. Retry after a pause, with the same key (503).
    #[error(transparent)]
    Unavailable(StoreError),
    /// No answer in time. It is not known whether the command was or will be carried out: retry
    /// with the same key to learn it (503).
    #[error("the outcome is not known yet: retry with the same command id to learn it")]
    Unknown,
    /// The stored events cannot be turned into the aggregate's state, so nothing can be decided.
    /// Fix the code or the data; retrying alone does not help (500).
    #[error("{stream} cannot be loaded: {reason}")]
    Quarantined {
        /// The aggregate.
        stream: StreamId,
        /// Position, event type and what is wrong.
        reason: String,
    },
    /// The aggregate's code panicked. Nothing was stored and the state was thrown away (500).
    #[error("the aggregate {stream} panicked: {message}")]
    Panicked {
        /// The aggregate.
        stream: StreamId,
        /// The panic's message.
        message: String,
    },
    /// An event cannot be stored: not serialisable as an enum variant, or too large (500).
    #[error("an event of {stream} cannot be stored: {reason}")]
    Unstorable {
        /// The aggregate.
        stream: StreamId,
        /// What is wrong with it.
        reason: String,
    },
    /// The id cannot name an aggregate (400).
    #[error(transparent)]
    InvalidId(#[from] InvalidStreamId),
    /// The command id is empty or too long (400).
    #[error(transparent)]
    InvalidKey(#[from] InvalidCommandId),
    /// The aggregate's type was not registered with the application. A programmer's mistake (500).
    #[error("the aggregate type {0} is not registered: add .aggregate::<…>() to the builder")]
    NotRegistered(&'static str),
    /// The application is stopping. Nothing was stored. Retry elsewhere or later (503).
    #[error("the application is stopping")]
    Stopping,
}

impl<E> CommandError<E> {
    /// The same, for a caller to whom the refusal means something else.
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

/// A read model did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// No document has this key (404).
    #[error("{model} has no document {key:?}")]
    NotFound {
        /// The read model.
        model: &'static str,
        /// The key asked for.
        key: String,
        /// Position up to which the answer reflects the log.
        reflects: GlobalPosition,
    },
    /// The read model has not yet applied the position asked for, within the time given. Ask
    /// again (504); the document would be older than asked.
    #[error("{model} has reached position {reached}, not yet {wanted}, after {waited:?}")]
    NotYet {
        /// The read model.
        model: &'static str,
        /// What was asked for.
        wanted: GlobalPosition,
        /// Where it is.
        reached: GlobalPosition,
        /// How long the read waited.
        waited: Duration,
    },
    /// The read model stopped at an event it cannot apply. Fix the code or the data (503).
    #[error("{model} halted at position {position}: {reason}")]
    Halted {
        /// The read model.
        model: &'static str,
        /// The event it could not apply.
        position: GlobalPosition,
        /// Why.
        reason: String,
    },
    /// The document stands still at an event that cannot be applied to it, and would be older than
    /// asked. Fix the code, or ask to skip the event: `Operations::skip_parked` (503).
    #[error("{model} has parked {key:?} at position {position}: {reason}")]
    Parked {
        /// The read model.
        model: &'static str,
        /// The key asked for.
        key: String,
        /// The event that could not be applied.
        position: GlobalPosition,
        /// Why.
        reason: String,
        /// Position up to which the answer reflects the log.
        reflects: GlobalPosition,
    },
    /// The code of the query did not come to an answer: fix it (500).
    #[error("a query of {model} failed: {reason}")]
    Failed {
        /// The projection.
        model: &'static str,
        /// What it said.
        reason: String,
    },
    /// The store did not answer. Retry after a pause (503).
    #[error(transparent)]
    Unavailable(#[from] StoreError),
    /// Too many reads of this model wait. Retry after a pause (503).
    #[error("overloaded: too many reads of {0} wait")]
    Overloaded(&'static str),
    /// All live streams are taken (`Settings::live_streams`). Retry when one may have ended (503).
    #[error("all live streams are taken; raise Settings::live_streams, or end one")]
    NoLiveStream,
    /// The read model or projection was not registered with the application. A programmer's mistake
    /// (500).
    #[error("{0} is not registered: add .read_model::<…>() or .projection::<…>() to the builder")]
    NotRegistered(&'static str),
    /// The id cannot name an aggregate (400).
    #[error(transparent)]
    InvalidId(#[from] InvalidStreamId),
    /// Changes came faster than they were taken, and some were dropped. Read anew what you keep (503).
    #[error("changes of {model} after position {after} were lost: they were not taken in time")]
    Lost {
        /// The read model.
        model: &'static str,
        /// The last change that was not lost.
        after: GlobalPosition,
    },
    /// The application is stopping (503).
    #[error("the application is stopping")]
    Stopping,
}
