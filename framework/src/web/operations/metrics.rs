//! `GET /metrics`: the metrics of Actum (see `actum::metrics`) in the Prometheus format.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpResponse, Responder, rt};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::box_error::BoxError;
use crate::metrics::{ALL, Kind};
use crate::web::routes::Routes;

/// Interval of the recorder's upkeep. Values of histograms stay in memory one by one until the
/// upkeep adds them to buckets.
const SORT_EVERY: Duration = Duration::from_secs(5);

/// The recorder of this process's metrics, for `GET /metrics` of the operations API. Clones are the
/// same one.
#[derive(Clone)]
pub struct Prometheus(Arc<PrometheusHandle>);

impl Prometheus {
    /// Installs the recorder. Call it once in a process, and before the store is opened, because
    /// metric handles are created from the current recorder.
    ///
    /// # Errors
    /// Another recorder is installed.
    pub fn record() -> Result<Self, BoxError> {
        let mut builder = PrometheusBuilder::new();
        for metric in ALL {
            if let Kind::Histogram { buckets } = metric.kind {
                builder =
                    builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), buckets)?;
            }
        }
        let recorded = Self(Arc::new(builder.install_recorder()?));
        let sorted = recorded.clone();
        rt::spawn(async move {
            loop {
                rt::time::sleep(SORT_EVERY).await;
                sorted.0.run_upkeep();
            }
        });
        Ok(recorded)
    }
}

pub(super) fn add(routes: Routes) -> Routes {
    routes.get("/metrics", metrics).for_operators()
}

async fn metrics(recorded: Option<Data<Prometheus>>) -> impl Responder {
    // Without a recorder nothing is measured, which is no error.
    let text = recorded.map(|recorded| recorded.0.render()).unwrap_or_default();
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)
}
