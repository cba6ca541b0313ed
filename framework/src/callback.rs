//! The contract of calling a client back: one attempt, and what it means for the next.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

/// Makes attempts, and remembers none.
#[async_trait]
pub(crate) trait CallBack: Send + Sync + 'static {
    async fn call(&self, call: Call<'_>) -> Answered;
}

/// One attempt.
pub(crate) struct Call<'a> {
    /// The message's: the same in every attempt.
    pub(crate) id: &'a str,
    /// On whose behalf the command came.
    pub(crate) actor: Option<&'a str>,
    pub(crate) url: &'a str,
    /// As JSON.
    pub(crate) body: Vec<u8>,
    /// From 1.
    pub(crate) attempt: u32,
    /// Now.
    pub(crate) at: OffsetDateTime,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Answered {
    /// The client knows.
    Delivered { status: u16 },
    /// It may not; to be tried again.
    Again { after: Duration, reason: String },
    /// It does not, and will not.
    GivenUp { reason: String },
}
