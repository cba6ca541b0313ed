//! `GET /health/live` and `GET /health/ready`: whether the process runs, and whether to send it work.

use actix_web::web::Json;
use actum::web::Problem;
use serde_json::{Value, json};

use super::App;

/// The process runs and answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// Every read model has caught up with the log as it was at start, and nobody is stopping it.
pub(super) async fn ready(app: App) -> Result<Json<Value>, Problem> {
    let readiness = app.readiness();
    if readiness.ready {
        return Ok(Json(json!({ "status": "ready" })));
    }
    let detail = format!("waiting for {}", readiness.waiting_for.join(", "));
    Err(Problem::new(503, "not_ready", detail).retry_after(1))
}
