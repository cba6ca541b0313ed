//! Limits of the bank, as the command line sets them.

use std::num::NonZeroU32;
use std::time::Duration;

use actum::Settings;
use actum::web::{Deadlines, Limits, Rate};
use clap::{Args, value_parser};

/// Limits of one request, of one client, of all.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitOptions {
    /// How long a request's body may take to arrive, in milliseconds; then it is answered 408.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    body_deadline_ms: u64,
    /// How long a request may take until its answer begins, in milliseconds; then it is answered
    /// 503, and a command goes on. Live streams end when they end.
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    request_deadline_ms: u64,
    /// How often a principal may ask, or an address where nobody is known, such as 100/s or 600/m;
    /// more is answered 429. As often as they like unless told.
    #[arg(long, env = "BANK_RATE")]
    rate: Option<Rate>,
    /// How many requests may come at once after a pause; as many as the rate says unless told.
    #[arg(long, value_name = "REQUESTS", requires = "rate")]
    burst: Option<NonZeroU32>,
    /// Milliseconds that a client may take nothing of what it is sent; then its connection is closed
    /// (on Linux).
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = value_parser!(u64).range(1..=86_400_000))]
    send_deadline_ms: u64,
    /// Live streams in all; one more is answered 503.
    #[arg(long, value_name = "STREAMS", default_value_t = 1024)]
    streams: usize,
    /// Live streams of one principal or address at a time, and never more than a quarter of those
    /// that are free; one more is answered 429.
    #[arg(long, value_name = "STREAMS", default_value_t = 100)]
    streams_each: usize,
    /// How long a live stream lasts, in seconds; its client comes again by itself, with its credential.
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = value_parser!(u64).range(1..))]
    stream_lasts: u64,
    /// How many connections may be open at a time; others wait to be accepted.
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 10_000)]
    connections: usize,
    /// How many of them may come from one address (of IPv6 a /64). Behind a proxy that is all. An
    /// address keeps connections alive only while it has less than an eighth of those that are free.
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

    /// The application's own limits, as far as the command line sets them.
    pub(crate) fn settings(&self) -> Settings {
        Settings { live_streams: self.streams, ..Settings::default() }
    }
}
