//! `GET /status`: the log, each partition of each read model, and the authenticators, for people
//! and for alerts.

use actix_web::web::{Data, Json};
use serde::Serialize;
use serde_json::{Map, Value};

use super::App;
use crate::status::Status;
use crate::web::access::Access;

/// Status of the application and of the server.
#[derive(Serialize)]
pub(super) struct ServerStatus {
    #[serde(flatten)]
    application: Status,
    /// States of the authenticators, such as `api_keys`.
    #[serde(flatten)]
    authenticators: Map<String, Value>,
}

/// Returns the status. Works without the database too; then `log.trouble` has the reason.
pub(super) async fn status(app: App, access: Data<Access>) -> Json<ServerStatus> {
    let application = app.operations().status().await;
    Json(ServerStatus { application, authenticators: access.status() })
}
