//! What operators ask, on a listener of their own: how it goes, what stands still, which version serves.
//!
//! None of it is on the bank's public address. Every route asks for the policy `Operate`, but for
//! the two that tell whether the process lives.

pub(crate) mod metrics;
mod parked;
mod status;
mod versions;

use actix_web::http::Method;
use actix_web::web::{Data, ServiceConfig};
use actum::Application;
use actum::web::{Routes, strict_input};

use super::guard::guarded;
use super::{Policy, health};
use crate::access::Access;

/// All routes for operators. `{name}` is a read model or projection, as the status names it.
pub fn table() -> Routes<Policy> {
    use Policy::{Operate, Probe};
    Routes::default()
        .get("/status", Operate, status::status)
        .get("/metrics", Operate, metrics::metrics)
        .get("/subscriptions/{name}/parked", Operate, parked::parked)
        .get("/subscriptions/{name}/skipped", Operate, parked::skipped)
        .post("/subscriptions/{name}/parked/retry", Operate, parked::retry)
        .post("/subscriptions/{name}/parked/skip", Operate, parked::skip)
        .get("/subscriptions/{name}/versions", Operate, versions::versions)
        .get("/subscriptions/{name}/comparison", Operate, versions::compare)
        .post("/subscriptions/{name}/versions/{number}/serve", Operate, versions::serve)
        .route(
            Method::DELETE,
            "/subscriptions/{name}/versions/{number}",
            Operate,
            versions::drop_version,
        )
        .get("/health/live", Probe, health::live)
        .get("/health/ready", Probe, health::ready)
}

/// The operators' routes on this application, open to whom `access` knows; for `App::configure`.
pub fn operations(app: Application, access: Access) -> impl FnOnce(&mut ServiceConfig) + Clone {
    let app = Data::new(app);
    move |config| {
        config.configure(strict_input).app_data(app).app_data(Data::new(access.clone()));
        config.service(guarded(table(), access));
    }
}
