//! What is answered of commands that are answered later, and of callbacks.

use std::collections::BTreeMap;

use actix_web::http::header::LOCATION;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::answers::header;
use super::values;

/// A command in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes a part of the path")]
pub struct CommandId {
    /// The command's id.
    #[param(schema_with = values::command_id)]
    id: String,
}

/// A command that was accepted to be carried out later.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `AcceptedAnswer` writes")]
pub struct Accepted {
    /// The command's.
    id: String,
    /// Always `accepted`.
    status: String,
}

/// What became of a command so far.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `actum::CommandStatus` writes")]
pub struct CommandStatus {
    /// The command's.
    id: String,
    /// What it is asked of: `account`.
    aggregate_type: String,
    /// Which account.
    aggregate_id: String,
    #[schema(format = DateTime)]
    accepted_at: String,
    /// How far it has come.
    status: CommandState,
    /// Committed: the version of the account after it.
    version: Option<u64>,
    /// Committed: where the log stands after it.
    position: Option<u64>,
    /// Refused: why, for programs.
    code: Option<String>,
    /// Refused: why, for people.
    detail: Option<String>,
    /// Failed: what kind of fault it was.
    reason: Option<String>,
    callback: Option<CallbackStatus>,
}

/// How far a command has come.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes what `actum::CommandState` writes")]
pub enum CommandState {
    Accepted,
    Committed,
    Refused,
    Failed,
}

/// Whether its client was called back.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `actum::CallbackStatus` writes")]
pub struct CallbackStatus {
    status: CallbackState,
    /// How often it was tried.
    attempts: u32,
    /// Why the last attempt failed.
    last_error: Option<String>,
    /// When the next one is due.
    #[schema(format = DateTime)]
    next_at: Option<String>,
}

/// Whether a client knows.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes what `actum::CallbackState` writes")]
pub enum CallbackState {
    Due,
    Delivered,
    GivenUp,
}

/// 202: accepted, as `Prefer: respond-async` asks for.
pub(super) fn accepted() -> (String, RefOr<Response>) {
    let body = Content::new(Some(Ref::from_schema_name("Accepted")));
    let accepted = ResponseBuilder::new()
        .description("It is stored and will be carried out, as `Prefer: respond-async` asks for")
        .header(LOCATION.as_str(), header::<String>("Where to ask what came of it."))
        .header("Preference-Applied", header::<String>("What was preferred and is done."))
        .content("application/json", body);
    ("202".to_owned(), accepted.build().into())
}

/// 200: the status of a command.
pub struct Status;

impl IntoResponses for Status {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let body = Content::new(Some(Ref::from_schema_name("CommandStatus")));
        let told = ResponseBuilder::new()
            .description("As the log tells it now")
            .content("application/json", body);
        BTreeMap::from([("200".to_owned(), told.build().into())])
    }
}
