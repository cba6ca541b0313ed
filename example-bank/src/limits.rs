//! How much the bank lets itself be asked: what the command line says about it.

use std::time::Duration;

use actum::web::Deadlines;
use clap::Args;

/// The limits of what one request may take.
#[derive(Args, Clone)]
pub(crate) struct Limits {
    /// How long a request's body may take to arrive, in milliseconds; then it is answered 408.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    body_deadline_ms: u64,
    /// How long a request may take until its answer begins, in milliseconds; then it is answered
    /// 503, and a command goes on. Live streams end when they end.
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    request_deadline_ms: u64,
}

impl Limits {
    pub(crate) fn deadlines(&self) -> Deadlines {
        Deadlines {
            body: Duration::from_millis(self.body_deadline_ms),
            request: Duration::from_millis(self.request_deadline_ms),
        }
    }
}
