//! Deferred commands over HTTP: `GET /commands/{id}`, and each event as a server-sent event.
//!
//! Visible to the client that sent the command and to operators. For other clients the command does
//! not exist.

use actix_web::web::{Data, Json, Path};
use actix_web::{Either, HttpRequest, HttpResponse, Responder};
use utoipa::OpenApi;

use super::access::Access;
use super::limits::Streams;
use super::openapi::{CommandId, Message, Status, deferred};
use super::principal::Principal;
use super::problem::Problem;
use super::resume::ResumeAfter;
use super::routes::Routes;
use super::sse::{ServerSentEvents, SseMessage};
use crate::application::Application;
use crate::deferred::{AcceptedCommand, CommandStatus};
use crate::error::ReadError;
use crate::event::StreamVersion;

#[derive(OpenApi)]
#[openapi(paths(status, events), components(schemas(super::prefer::Body, deferred::CommandStatus)))]
struct Description;

/// Routes of the status and the event stream of deferred commands, with the scope that they need.
pub fn deferred_commands(read: &'static str) -> Routes {
    Routes::new()
        .get("/commands/{id}", status)
        .needs(read)
        .get("/commands/{id}/events", events)
        .needs(read)
        .described_by(Description::openapi)
}

type App = Data<Application>;

/// Maximum number of events of a command: its outcome and its callback attempts.
const MOST_EVENTS: usize = 1_000;

/// Returns the status of a deferred command.
#[utoipa::path(
    get,
    path = "/commands/{id}",
    tag = "commands",
    operation_id = "command",
    params(CommandId),
    responses(Status)
)]
async fn status(
    app: App,
    id: Path<String>,
    who: Principal,
    access: Data<Access>,
) -> Result<Json<CommandStatus>, Problem> {
    Ok(Json(visible(&app, &id, &who, &access).await?))
}

/// Streams a message for each event of the command, with its status after it. The stream ends with
/// the last event. A client that reconnects after that gets a 204.
#[utoipa::path(get, path = "/commands/{id}/events", tag = "commands",
    operation_id = "command_events", params(CommandId, ResumeAfter), responses(
    (status = 200, description = "A stream that ends with the command", body = Message,
        content_type = "text/event-stream"),
    (status = 204, description = "Nothing more will come")))]
async fn events(
    app: App,
    id: Path<String>,
    ResumeAfter(after): ResumeAfter,
    who: Principal,
    access: Data<Access>,
    request: HttpRequest,
) -> Result<impl Responder, Problem> {
    // Registered before the events are read, so that none is missed in between.
    let mut events = app.follow::<AcceptedCommand>(&id, StreamVersion(after)).map_err(unknown)?;
    visible(&app, &id, &who, &access).await?;
    let read = app.history::<AcceptedCommand>(&id, StreamVersion::ZERO, MOST_EVENTS).await?;
    if (read.len() as u64) < after {
        let detail = format!("the command has no event {after} yet");
        return Err(Problem::new(400, "invalid_last_event_id", detail));
    }
    let mut seen: Vec<_> = read.into_iter().take_while(|event| event.version.0 <= after).collect();
    if CommandStatus::of(&seen).is_some_and(|status| status.is_final()) {
        // A browser's `EventSource` reconnects until it gets a 204 (HTML standard, section 9.2).
        return Ok(Either::Left(HttpResponse::NoContent()));
    }
    let place = Streams::enter(&request)?;
    Ok(Either::Right(ServerSentEvents::new(async move || {
        let _held = &place;
        if CommandStatus::of(&seen).is_some_and(|status| status.is_final()) {
            return Ok(None);
        }
        let Some(event) = events.next().await? else { return Ok(None) };
        let (version, name) = (event.version.0, event.event_type.clone());
        seen.push(event);
        match CommandStatus::of(&seen) {
            Some(status) => Ok(Some(SseMessage::new(version, &name, &status)?)),
            None => Ok(None),
        }
    })))
}

async fn visible(
    app: &App,
    id: &str,
    who: &Principal,
    access: &Access,
) -> Result<CommandStatus, Problem> {
    let status = app.command(id).await.map_err(unknown)?;
    match status.actor.as_ref() == Some(&who.id) || access.is_operator(who) {
        true => Ok(status),
        // The same as for a missing command, so that other clients cannot probe for ids.
        false => Err(unknown_command()),
    }
}

fn unknown(error: ReadError) -> Problem {
    match error {
        ReadError::NotFound { .. } | ReadError::InvalidId(_) => unknown_command(),
        other => other.into(),
    }
}

fn unknown_command() -> Problem {
    Problem::new(404, "unknown_command", "no command has this id")
}
