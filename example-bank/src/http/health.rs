//! `GET /health/live` and `GET /health/ready`: whether the process runs, and whether to send it work.

use actix_web::web::Json;
use actum::web::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    status: State,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum State {
    Live,
    Ready,
}

/// The process runs and answers.
#[utoipa::path(get, path = "/health/live", tag = "about",
    responses((status = 200, description = "It runs", body = Health)))]
pub(super) async fn live() -> Json<Health> {
    Json(Health { status: State::Live })
}

/// Every read model has caught up with the log as it was at start, and nobody is stopping it.
#[utoipa::path(get, path = "/health/ready", tag = "about",
    responses((status = 200, description = "Send it work", body = Health)))]
pub(super) async fn ready(app: App) -> Result<Json<Health>, Problem> {
    let readiness = app.readiness();
    if readiness.ready {
        return Ok(Json(Health { status: State::Ready }));
    }
    let detail = format!("waiting for {}", readiness.waiting_for.join(", "));
    Err(Problem::new(503, "not_ready", detail).retry_after(1))
}
