//! `GET /metrics`: what Actum measures (`actum::metrics` lists it), as Prometheus reads it.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpResponse, Responder, rt};
use actum::BoxError;
use actum::metrics::{ALL, Kind};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Times are kept one by one until they are sorted into buckets: so often, also when nobody asks.
const SORT_EVERY: Duration = Duration::from_secs(5);

/// Records from here on, so it comes before the store is opened. Once in a process.
pub(crate) fn record() -> Result<PrometheusHandle, BoxError> {
    let mut builder = PrometheusBuilder::new();
    for metric in ALL {
        if let Kind::Histogram { buckets } = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), buckets)?;
        }
    }
    let recorded = builder.install_recorder()?;
    let sorted = recorded.clone();
    rt::spawn(async move {
        loop {
            rt::time::sleep(SORT_EVERY).await;
            sorted.run_upkeep();
        }
    });
    Ok(recorded)
}

pub(super) async fn metrics(recorded: Data<PrometheusHandle>) -> impl Responder {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(recorded.render())
}
