//! The contract between the callbacks reaction and the client that makes the calls: one attempt, and
//! its result.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

/// Makes attempts, and remembers none.
#[async_trait]
pub(crate) trait CallBack: Send + Sync + 'static {
    async fn call(&self, call: Call<'_>) -> Answered;

    /// Name of the endpoint behind a URL, such as its origin: endpoints fail and recover one by one.
    fn endpoint(&self, url: &str) -> String;

    /// Time after the first attempt from which on a failed attempt is the last one.
    fn gives_up_after(&self) -> Duration;
}

/// One attempt.
pub(crate) struct Call<'a> {
    /// Id of the message: the same in every attempt.
    pub(crate) id: &'a str,
    /// Client on whose behalf the command came.
    pub(crate) actor: Option<&'a str>,
    pub(crate) url: &'a str,
    /// A JSON text.
    pub(crate) body: Vec<u8>,
    /// Attempt number, starting at 1.
    pub(crate) attempt: u32,
    /// The time now.
    pub(crate) at: OffsetDateTime,
}

/// The result of one attempt.
#[derive(Debug)]
pub(crate) enum Answered {
    /// The client has received the message.
    Delivered { status: u16 },
    /// The client may not have received it; to be tried again.
    Again {
        after: Duration,
        reason: String,
        /// The endpoint did not answer, or is overloaded: other messages would fare alike.
        is_down: bool,
    },
    /// The client has not received it, and there will be no other attempt.
    GivenUp { reason: String, is_down: bool },
    /// No call was made, because this process had no place for it. It does not count as an attempt.
    Untried,
}
