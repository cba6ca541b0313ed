//! `GET /status`: the log, each partition of each read model, and the file of API keys, for people
//! and for alerts.

use actix_web::web::{Data, Json};
use actum::Status;
use serde::Serialize;

use crate::access::{Access, KeysStatus};
use crate::http::App;

/// The application's status, and the bank's own.
#[derive(Serialize)]
pub(super) struct BankStatus {
    #[serde(flatten)]
    application: Status,
    /// Absent without a file of API keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_keys: Option<KeysStatus>,
}

/// Answers also when the database is not there: then the log's trouble says so.
pub(super) async fn status(app: App, access: Data<Access>) -> Json<BankStatus> {
    Json(BankStatus {
        application: app.operations().status().await,
        api_keys: access.keys_status(),
    })
}
