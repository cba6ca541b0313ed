//! Parked keys in the operations API: list, retry, skip.
//!
//! A request is stored and gets a 202; the owner of the key carries it out. The key is in the body,
//! because it may contain any character.

use actix_web::HttpResponse;
use actix_web::web::{Json, Path};
use serde::Deserialize;
use serde_json::json;

use super::App;
use crate::event::GlobalPosition;
use crate::store::contract::{ParkedKey, SkippedEvent};
use crate::web::body::JsonBody;
use crate::web::problem::Problem;

/// Body of a retry: one key, or all of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    key: Option<String>,
}

/// Body of a skip: the event, which must be the one at which the key is parked, and the reason.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Skip {
    key: String,
    position: GlobalPosition,
    reason: String,
}

pub(super) async fn parked(app: App, name: Path<String>) -> Result<Json<Vec<ParkedKey>>, Problem> {
    Ok(Json(app.operations().parked(&name).await?))
}

pub(super) async fn skipped(
    app: App,
    name: Path<String>,
) -> Result<Json<Vec<SkippedEvent>>, Problem> {
    Ok(Json(app.operations().skipped(&name).await?))
}

pub(super) async fn retry(
    app: App,
    name: Path<String>,
    retry: JsonBody<Retry>,
) -> Result<HttpResponse, Problem> {
    let asked = match &retry.key {
        Some(key) => app.operations().retry_parked(&name, key).await.map(|()| 1)?,
        None => app.operations().retry_all_parked(&name).await?,
    };
    tracing::info!(subscription = %name, key = ?retry.key, asked, "an operator has parked keys tried again");
    Ok(HttpResponse::Accepted().json(json!({ "asked": asked })))
}

pub(super) async fn skip(
    app: App,
    name: Path<String>,
    skip: JsonBody<Skip>,
) -> Result<HttpResponse, Problem> {
    let Skip { key, position, reason } = &skip.0;
    app.operations().skip_parked(&name, key, *position, reason).await?;
    tracing::warn!(subscription = %name, ?key, %position, ?reason, "an operator has an event left out");
    Ok(HttpResponse::Accepted().json(json!({ "asked": 1 })))
}
