//! `GET /status`: the log and each partition of each read model, for people and for alerts.

use actix_web::web::Json;
use actum::Status;

use super::App;

/// Answered also when the database is not there: then the log's trouble says so.
#[utoipa::path(get, path = "/status", tag = "about",
    responses((status = 200, description = "As it is now", body = Object)))]
pub(super) async fn status(app: App) -> Json<Status> {
    Json(app.status().await)
}
