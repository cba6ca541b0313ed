//! Limits of a server: per request, per client, and in total.

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

/// Limits of a [`Server`](super::Server). The defaults suit most servers. The operations API only
/// has the deadlines, so that it responds even while the public listener is full.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Deadlines of a request: for its body to arrive, and for its response to begin.
    pub deadlines: Deadlines,
    /// Maximum time without progress in sending; then the connection is closed (on Linux). Default
    /// 30 s.
    pub send_deadline: Duration,
    /// Maximum rate of requests per client. More requests get a 429. Default: no limit.
    pub rate: Option<Rate>,
    /// Number of requests that a client may send at once after a pause. Default: the number in the
    /// rate.
    pub burst: Option<NonZeroU32>,
    /// Maximum number of live streams. One more gets a 503. Set `Settings::live_streams` to the
    /// same number. Default 1,024.
    pub streams: usize,
    /// Maximum number of live streams per client, and never more than a quarter of the free ones.
    /// One more gets a 429. Default 100.
    pub streams_each: usize,
    /// Maximum duration of a live stream. The client then reconnects, with its credential. Default
    /// 15 min.
    pub stream_lasts: Duration,
    /// Maximum number of open connections. Further ones wait to be accepted. Default 10,000.
    pub connections: usize,
    /// Maximum number of connections per IP address (for IPv6, per /64). Behind a proxy all
    /// connections have one address. A client may keep connections alive only while it has less
    /// than an eighth of the free ones. Default 2,000.
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
