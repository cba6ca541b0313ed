//! The interface between the callbacks reaction and the client that makes the calls: one attempt
//! and its result.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

/// Makes callback attempts. Implementations keep no state between attempts.
#[async_trait]
pub(crate) trait CallBack: Send + Sync + 'static {
    async fn call(&self, call: Call<'_>) -> Answered;

    /// Returns the name of the URL's endpoint, such as its origin. Each endpoint has a circuit
    /// breaker of its own, because endpoints fail and recover independently.
    fn endpoint(&self, url: &str) -> String;

    /// Time after the first attempt from which on a failed attempt is the last one.
    fn gives_up_after(&self) -> Duration;
}

/// One callback attempt.
pub(crate) struct Call<'a> {
    /// Id of the message, the same in every attempt.
    pub(crate) id: &'a str,
    /// Client on whose behalf the command was sent.
    pub(crate) actor: Option<&'a str>,
    pub(crate) url: &'a str,
    /// Body of the callback as a JSON text.
    pub(crate) body: Vec<u8>,
    /// Attempt number, starting at 1.
    pub(crate) attempt: u32,
    /// Current time.
    pub(crate) at: OffsetDateTime,
}

/// Result of one callback attempt.
#[derive(Debug)]
pub(crate) enum Answered {
    /// The client received the message.
    Delivered { status: u16 },
    /// The client may not have received the message. Another attempt follows.
    Again {
        after: Duration,
        reason: String,
        /// The endpoint does not respond or is overloaded, so other messages to it would fail too.
        is_down: bool,
    },
    /// The client did not receive the message, and no other attempt follows.
    GivenUp { reason: String, is_down: bool },
    /// No call was made, because this process had no free place for it. Not counted as an attempt.
    Untried,
}
