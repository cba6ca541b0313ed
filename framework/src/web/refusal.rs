//! Converts the errors of commands and reads to problem documents. The only place that chooses
//! their status.

use super::problem::Problem;
use crate::command::RefusalCode;
use crate::error::{CommandError, ReadError, StoreError};

/// Long enough for a short overload to pass, and short enough for a person to wait.
const RETRY_AFTER_S: u32 = 1;

impl Problem {
    /// Creates the problem of an aggregate's refusal.
    pub fn refused(refusal: &impl RefusalCode) -> Self {
        Self::new(refusal.status(), refusal.code(), refusal.to_string())
    }

    pub(super) fn for_now(code: &'static str, detail: &str) -> Self {
        Self::new(503, code, detail).retry_after(RETRY_AFTER_S)
    }

    pub(super) fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "a request was refused");
                Self::for_now(
                    "unavailable",
                    "the store is unavailable; this attempt stored nothing",
                )
            }
            StoreError::OtherHistory(_) => {
                tracing::error!(%error, "a request was refused");
                let detail = "the store holds another history; this attempt stored nothing";
                Self::for_now("unavailable", detail)
            }
            StoreError::Unknown(_) => Self::outcome_unknown(),
            // Faults of the data or of this program, so a retry of the client does not help.
            StoreError::Hole { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Checkpoint { .. }
            | StoreError::LeaseLost { .. } => Self::internal(error),
        }
    }

    pub(super) fn outcome_unknown() -> Self {
        let detail = "the outcome is not known yet: send the request again with the same \
                      Idempotency-Key";
        Self::for_now("outcome_unknown", detail)
    }

    fn overloaded() -> Self {
        Self::for_now("overloaded", "the server is overloaded; this attempt did nothing")
    }

    /// Creates a 503 problem: the limit of live streams is reached, over all clients.
    pub fn no_live_stream() -> Self {
        let detail = "the limit of live streams is reached; retry later";
        Self::for_now("no_live_stream", detail)
    }

    fn stopping() -> Self {
        Self::for_now("stopping", "the server is stopping; this attempt did nothing")
    }
}

impl<E: RefusalCode> From<CommandError<E>> for Problem {
    fn from(error: CommandError<E>) -> Self {
        match &error {
            CommandError::Refused(refusal) => Self::refused(refusal),
            CommandError::NotExpected { actual, .. } => {
                Self::new(412, "precondition_failed", error.to_string()).version(*actual)
            }
            CommandError::StillRunning => {
                let detail = "a request with this Idempotency-Key is still running";
                Self::new(409, "still_running", detail).retry_after(RETRY_AFTER_S)
            }
            CommandError::Conflict { .. } => Self::new(409, "conflict", error.to_string()),
            CommandError::KeyReused { .. } => {
                let detail = "this Idempotency-Key was already used for another request";
                Self::new(422, "idempotency_key_reused", detail)
            }
            CommandError::Claimed { claim, .. } => {
                Self::new(409, claim.taken_code(), error.to_string())
                    .member("kind", claim.kind())
                    .member("value", claim.value())
            }
            CommandError::RefusedBefore { code, detail, status } => {
                Self::new(*status, code.clone(), detail.clone())
            }
            CommandError::ClientLimit(what) => {
                Self::new(429, "too_many_open", *what).retry_after(RETRY_AFTER_S)
            }
            CommandError::Overloaded(_) => Self::overloaded(),
            CommandError::Unavailable(store) => Self::of_store(store),
            CommandError::Unknown => Self::outcome_unknown(),
            CommandError::InvalidId(invalid) => Self::new(400, "invalid_id", invalid.to_string()),
            CommandError::InvalidKey(invalid) => {
                Self::new(400, "invalid_idempotency_key", invalid.to_string())
            }
            CommandError::Stopping => Self::stopping(),
            CommandError::Quarantined { .. }
            | CommandError::Panicked { .. }
            | CommandError::Unstorable { .. }
            | CommandError::NotRegistered(_) => Self::internal(&error),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::NotFound { .. } => Self::new(404, "not_found", error.to_string()),
            ReadError::NotYet { wanted, reached, .. } => {
                Self::new(504, "not_yet", error.to_string())
                    .member("wanted", wanted.0)
                    .member("reached", reached.0)
                    .retry_after(RETRY_AFTER_S)
            }
            ReadError::Halted { model, .. } => {
                tracing::error!(%error, "a read was refused");
                Self::for_now("halted", &format!("{model} has halted and must be repaired"))
            }
            // No `Retry-After`, because a repair is needed and not time.
            ReadError::Parked { model, key, position, .. } => {
                tracing::error!(%error, "a read was refused");
                let what = format!("{model} has parked {key:?} at position {position}");
                Self::new(503, "parked", format!("{what}, which must be repaired"))
            }
            ReadError::Unavailable(store) => Self::of_store(store),
            ReadError::Overloaded(_) => Self::overloaded(),
            ReadError::NoLiveStream => Self::no_live_stream(),
            ReadError::Lost { .. } => Self::for_now("lost", &error.to_string()),
            ReadError::NotRegistered(_) | ReadError::Failed { .. } => Self::internal(&error),
            ReadError::InvalidId(invalid) => Self::new(400, "invalid_id", invalid.to_string()),
            ReadError::Stopping => Self::stopping(),
        }
    }
}
