//! What became of one call.

use std::time::Duration;

use super::endpoint::ForbiddenAddress;

/// One call that was made, or was not allowed to be made. The answer's body is never read: a status
/// is all that a stranger's server may tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The status of 2xx it was answered with, or why it was not.
    pub result: Result<u16, Failure>,
    /// How long the server asked to be left alone.
    pub retry_after: Option<Duration>,
    /// How long it took.
    pub took: Duration,
}

/// Why a message did not arrive, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The address may not be called, so it was not.
    #[error("the address may not be called: {0}")]
    Forbidden(#[from] ForbiddenAddress),
    /// No connection: refused, unreachable, or a certificate that does not fit.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// No answer in time. The message may have arrived.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke, or what came over it was no answer. The message may have arrived.
    #[error("no answer: {0}")]
    Broken(String),
    /// 410: the receiver wants no more messages at this address, ever.
    #[error("the endpoint is gone")]
    Gone,
    /// An answer other than 2xx. A redirect is not followed.
    #[error("answered with status {0}")]
    Status(u16),
}
