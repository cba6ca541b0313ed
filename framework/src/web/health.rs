//! Health probes: `GET /health/live` (the process runs) and `GET /health/ready` (send it work).

use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::problem::Problem;
use super::routes::Routes;
use crate::application::Application;

#[derive(OpenApi)]
#[openapi(paths(live, ready))]
struct Description;

/// Probes of a process's health: `GET /health/live` and `GET /health/ready`.
pub fn health() -> Routes {
    let routes = Routes::new().get("/health/live", live).probe();
    routes.get("/health/ready", ready).probe().described_by(Description::openapi)
}

#[derive(Serialize, ToSchema)]
struct Health {
    status: State,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum State {
    Live,
    Ready,
}

/// Checks that the process runs and responds.
#[utoipa::path(get, path = "/health/live", tag = "about",
    responses((status = 200, description = "It runs", body = Health)))]
async fn live() -> Json<Health> {
    Json(Health { status: State::Live })
}

/// Checks that every read model has reached the log's head as of the start, and that the
/// application is not stopping.
#[utoipa::path(get, path = "/health/ready", tag = "about",
    responses((status = 200, description = "Send it work", body = Health)))]
async fn ready(app: Data<Application>) -> Result<Json<Health>, Problem> {
    let readiness = app.readiness();
    if readiness.ready {
        return Ok(Json(Health { status: State::Ready }));
    }
    let detail = format!("waiting for {}", readiness.waiting_for.join(", "));
    Err(Problem::new(503, "not_ready", detail).retry_after(1))
}
