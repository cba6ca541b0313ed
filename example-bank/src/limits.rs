//! Command line options for the limits of the bank.

use std::num::NonZeroU32;
use std::time::Duration;

use actum::web::{Deadlines, Limits, Rate};
use clap::{Args, value_parser};

/// Limits per request, per client, and in total.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitOptions {
    /// Milliseconds for a request's body to arrive; after that the response is 408.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    body_deadline_ms: u64,
    /// Milliseconds until the response of a request must begin; after that the response is 503, and
    /// a command continues. Live streams are not limited by it.
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    request_deadline_ms: u64,
    /// Requests per client (a principal, or an IP address without one), such as 100/s or 600/m.
    /// More requests get a 429. Default: no limit.
    #[arg(long, env = "BANK_RATE")]
    rate: Option<Rate>,
    /// Requests that a client may send at once after a pause. Default: the number in --rate.
    #[arg(long, value_name = "REQUESTS", requires = "rate")]
    burst: Option<NonZeroU32>,
    /// Milliseconds without progress in sending after which a connection is closed (on Linux).
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = value_parser!(u64).range(1..=86_400_000))]
    send_deadline_ms: u64,
    /// Maximum number of live streams; one more gets a 503.
    #[arg(long, value_name = "STREAMS", default_value_t = 1024)]
    streams: usize,
    /// Maximum number of live streams per client, and never more than a quarter of the free ones;
    /// one more gets a 429.
    #[arg(long, value_name = "STREAMS", default_value_t = 100)]
    streams_each: usize,
    /// Maximum duration of a live stream in seconds. The client reconnects automatically, with its
    /// credential.
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = value_parser!(u64).range(1..))]
    stream_lasts: u64,
    /// Maximum number of open connections; further ones wait to be accepted.
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 10_000)]
    connections: usize,
    /// Maximum number of connections per IP address (for IPv6, per /64). Behind a proxy all
    /// connections have one address. A client may keep connections alive only while it has less
    /// than an eighth of the free ones.
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 2_000)]
    connections_each: usize,
}

impl LimitOptions {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            deadlines: Deadlines {
                body: Duration::from_millis(self.body_deadline_ms),
                request: Duration::from_millis(self.request_deadline_ms),
            },
            send_deadline: Duration::from_millis(self.send_deadline_ms),
            rate: self.rate,
            burst: self.burst,
            streams: self.streams,
            streams_each: self.streams_each,
            stream_lasts: Duration::from_secs(self.stream_lasts),
            connections: self.connections,
            connections_each: self.connections_each,
        }
    }
}
