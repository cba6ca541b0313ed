//! The operations API, on a listener of its own: status, parked keys, pauses, versions, metrics.
//!
//! None of it is on the public address. Every route needs the scope of operators, except the health
//! probes.

mod commands;
#[cfg(feature = "prometheus")]
mod metrics;
#[cfg(not(feature = "prometheus"))]
#[path = "metrics_off.rs"]
mod metrics;
mod parked;
mod pauses;
mod status;
mod stories;
mod versions;

use actix_web::web::Data;

#[cfg(feature = "prometheus")]
pub use self::metrics::Prometheus;
use super::health::health;
use super::routes::Routes;
use crate::application::Application;

type App = Data<Application>;

/// The routes of the operations API. `{name}` is a read model or projection, as the status names
/// it.
pub fn operations() -> Routes {
    let routes = Routes::new()
        .get("/status", status::status)
        .for_operators()
        .get("/subscriptions/{name}/parked", parked::parked)
        .for_operators()
        .get("/subscriptions/{name}/skipped", parked::skipped)
        .for_operators()
        .post("/subscriptions/{name}/parked/retry", parked::retry)
        .for_operators()
        .post("/subscriptions/{name}/parked/skip", parked::skip)
        .for_operators()
        .post("/subscriptions/{name}/pause", pauses::pause)
        .for_operators()
        .post("/subscriptions/{name}/resume", pauses::resume)
        .for_operators()
        .post("/subscriptions/{name}/replay", pauses::replay)
        .for_operators()
        .get("/subscriptions/{name}/versions", versions::versions)
        .for_operators()
        .get("/subscriptions/{name}/comparison", versions::compare)
        .for_operators()
        .post("/subscriptions/{name}/versions/{number}/serve", versions::serve)
        .for_operators()
        .delete("/subscriptions/{name}/versions/{number}", versions::drop_version)
        .for_operators()
        .get("/subscriptions/{name}/stories/{key}", stories::story)
        .for_operators()
        .post("/commands/{id}/fail", commands::fail)
        .for_operators();
    metrics::add(routes).merge(health())
}
