//! `GET /status`: the log and each partition of each read model, for people and for alerts.

use actix_web::web::Json;
use actum::Status;

use crate::http::App;

/// Answered also when the database is not there: then the log's trouble says so.
pub(super) async fn status(app: App) -> Json<Status> {
    Json(app.status().await)
}
