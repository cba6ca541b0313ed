//! Result of one call of a webhook.

use std::time::Duration;

use super::endpoint::ForbiddenAddress;

/// A call that was made or refused. The body of the response is never read, because the status is
/// all that the framework needs from a stranger's server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The 2xx status of the response, or the reason why there was none.
    pub result: Result<u16, Failure>,
    /// Value of the `Retry-After` header, if the server is overloaded.
    pub retry_after: Option<Duration>,
    /// Duration of the call.
    pub took: Duration,
}

/// Reason why a message was not delivered, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The address is not allowed, so no call was made.
    #[error("the address is not allowed: {0}")]
    Forbidden(#[from] ForbiddenAddress),
    /// No connection: it was refused, the server is unreachable, or its certificate is not valid.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// No response within the timeout. The message may have arrived.
    #[error("no response within the timeout")]
    TimedOut,
    /// The connection broke, or the response was not HTTP. The message may have arrived.
    #[error("no valid response: {0}")]
    Broken(String),
    /// Status 410: the receiver wants no more messages at this URL. Stop sending to it.
    #[error("the endpoint is gone")]
    Gone,
    /// Another status than 2xx. Redirects are not followed.
    #[error("response status {0}")]
    Status(u16),
}
