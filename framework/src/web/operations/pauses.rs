//! Pauses and replays in the operations API.
//!
//! A pause is stored and gets a 202; the owners carry it out. A replay is carried out at once.

use actix_web::HttpResponse;
use actix_web::web::Path;
use serde::Deserialize;
use serde_json::json;

use super::App;
use crate::event::GlobalPosition;
use crate::web::body::{JsonBody, NoBody};
use crate::web::problem::Problem;

/// Body of a pause: the reason, which the status shows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    reason: String,
}

pub(super) async fn pause(
    app: App,
    name: Path<String>,
    body: JsonBody<Reason>,
) -> Result<HttpResponse, Problem> {
    let Reason { reason } = &body.0;
    let pause = app.operations().pause(&name, reason).await?;
    tracing::warn!(subscription = %name, ?reason, "an operator has paused it");
    Ok(HttpResponse::Accepted().json(json!({ "paused": pause })))
}

pub(super) async fn resume(
    app: App,
    name: Path<String>,
    _: NoBody,
) -> Result<HttpResponse, Problem> {
    app.operations().resume(&name).await?;
    tracing::warn!(subscription = %name, "an operator has resumed it");
    Ok(HttpResponse::Accepted().json(json!({ "paused": null })))
}

/// Body of a replay: all events after a position are handled again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    after: GlobalPosition,
    reason: String,
}

pub(super) async fn replay(
    app: App,
    name: Path<String>,
    body: JsonBody<Replay>,
) -> Result<HttpResponse, Problem> {
    let Replay { after, reason } = &body.0;
    app.operations().replay(&name, *after, reason).await?;
    Ok(HttpResponse::Ok().json(json!({ "after": after })))
}
