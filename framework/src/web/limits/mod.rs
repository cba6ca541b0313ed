//! Limits of a server: of one request, of one client, of all together.

mod client;
mod connections;
mod rate;
mod streams;

use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::web::ServiceConfig;

pub(super) use self::connections::{Connections, connections};
pub(super) use self::rate::Buckets;
pub(super) use self::streams::Streams;
use super::deadlines::Deadlines;
use super::sse::SseConfig;

pub use self::rate::Rate;

/// Limits of a [`Server`](super::Server). The defaults are right for most; those of the operations
/// API are the deadlines alone, so that operators are answered also while the public listener is full.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time that a request may take: its body to arrive, and its answer to begin.
    pub deadlines: Deadlines,
    /// Time that a client may take nothing of what it is sent; then its connection is closed (on
    /// Linux). Default 30 s.
    pub send_deadline: Duration,
    /// Requests of one client; more are answered 429. Default: no limit.
    pub rate: Option<Rate>,
    /// Requests that may come at once after a pause. Default: as many as the rate says.
    pub burst: Option<NonZeroU32>,
    /// Maximum number of live streams; one more gets a 503.
    pub streams: usize,
    /// Live streams of one client, and never more than a quarter of those that are free; one more is
    /// answered 429. Default 100.
    pub streams_each: usize,
    /// Time that a live stream lasts. Its client then comes again, with its credential. Default
    /// 15 min.
    pub stream_lasts: Duration,
    /// Connections that may be open at a time; others wait to be accepted. Default 10,000.
    pub connections: usize,
    /// Connections from one address (of IPv6 a /64). Behind a proxy that is all of them. An address
    /// keeps connections alive only while it has less than an eighth of those that are free. Default
    /// 2,000.
    pub connections_each: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadlines: Deadlines::default(),
            send_deadline: Duration::from_secs(30),
            rate: None,
            burst: None,
            streams: 1024,
            streams_each: 100,
            stream_lasts: Duration::from_secs(900),
            connections: 10_000,
            connections_each: 2_000,
        }
    }
}

impl Limits {
    pub(super) fn open_connections(&self) -> Connections {
        Connections::new(self.connections, self.connections_each)
    }

    /// Data for the middlewares and handlers, the same in all workers.
    pub(super) fn shared(&self) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
        let deadlines = self.deadlines;
        let streams = Streams::new(self.streams, self.streams_each);
        let live = SseConfig { lasts: self.stream_lasts, ..SseConfig::default() };
        let buckets = self.rate.map(|rate| Buckets::new(rate, self.burst));
        if let Some(buckets) = &buckets {
            buckets.keep_small();
        }
        move |config| {
            config.app_data(deadlines).app_data(streams.clone()).app_data(live.clone());
            if let Some(buckets) = &buckets {
                config.app_data(buckets.clone());
            }
        }
    }
}
