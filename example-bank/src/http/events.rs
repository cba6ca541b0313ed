//! `GET /accounts/{id}/events`: what happens to an account, as it happens, as server-sent events.
//!
//! A message for each event, its version as `id`; a client that was cut off sends the last one as
//! `Last-Event-ID` (or `?after=`) and goes on after it, from the log.

use actix_web::{HttpRequest, Responder, Result};
use actum::StreamVersion;
use actum::web::{Problem, ResumeAfter, ServerSentEvents, SseMessage};

use super::App;
use super::history::{Entry, read};
use super::openapi::{AccountId, Message, ResumeHeaders, ResumeQuery};
use super::reading::Reading;
use crate::account::{Account, Refusal};
use crate::limits::Streams;

/// What happens to the account, as it happens: the entries of its history as server-sent events.
#[utoipa::path(get, path = "/accounts/{id}/events", tag = "accounts",
    params(AccountId, ResumeQuery, ResumeHeaders), responses((status = 200,
    description = "A stream without end", body = Message, content_type = "text/event-stream")))]
pub(super) async fn events(
    app: App,
    reading: Reading,
    ResumeAfter(after): ResumeAfter,
    request: HttpRequest,
) -> Result<impl Responder, Problem> {
    let id = reading.allowed(&app).await?;
    let mut events = app.follow::<Account>(&id, StreamVersion(after))?;
    // What the client has must be there, or it would wait for events it believes to have.
    let last = StreamVersion(after.saturating_sub(1));
    if read(&app, &id, last, 1).await?.is_empty() {
        let exists = !read(&app, &id, StreamVersion::ZERO, 1).await?.is_empty();
        return Err(match exists {
            false => Problem::refused(&Refusal::UnknownAccount),
            true => {
                let detail = format!("the account has no event {after} yet");
                Problem::new(400, "invalid_last_event_id", detail)
            }
        });
    }
    // Last: who asks wrongly is told so, however many streams they have.
    let place = Streams::enter(&request)?;
    Ok(ServerSentEvents::new(async move || {
        let _held = &place;
        let Some(event) = events.next().await? else { return Ok(None) };
        let message = SseMessage::new(event.version.0, &event.event_type, &Entry::of(&event)?)?;
        Ok(Some(message))
    }))
}
