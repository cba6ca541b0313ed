//! Deferred commands in the operations API.

use actix_web::web::{Json, Path};
use serde::Deserialize;

use super::App;
use crate::deferred::CommandState;
use crate::web::body::JsonBody;
use crate::web::problem::Problem;

/// Body of a failure: the reason, which the command's client sees.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    reason: String,
}

/// Fails an open command that no release will ever carry out. Returns the outcome, which is another one
/// if the command was carried out or refused before.
pub(super) async fn fail(
    app: App,
    id: Path<String>,
    body: JsonBody<Failure>,
) -> Result<Json<CommandState>, Problem> {
    let Failure { reason } = &body.0;
    let state = app.operations().fail_command(&id, reason).await?;
    tracing::warn!(command = %id, ?reason, ?state, "an operator has failed a command");
    Ok(Json(state))
}
