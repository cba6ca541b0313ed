//! What a request says of its command besides the body: whose it is, its name, what it expects.
//!
//! | header | becomes |
//! |---|---|
//! | `Idempotency-Key` | the command's key: the client's own, among the keys of its [`Principal`] |
//! | `If-Match: "3"`, `If-Match: *`, `If-None-Match: *` | the expected version |
//! | `X-Correlation-Id` | the correlation id |
//! | `traceparent`, `tracestate` | the trace context |
//! | `Prefer: respond-async` | how it is answered |
//!
//! A key is bound to method, path and body, so that the same key on another request is noticed and
//! refused instead of answered with the first one's outcome.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpRequest};
use serde::Serialize;
use uuid::Uuid;

use crate::command::{CommandKey, CommandOptions};
use crate::event::Metadata;
use crate::stream::ExpectedVersion;
use crate::web::{Principal, Problem, RespondAsync, precondition, trace_context};

/// The longest `Idempotency-Key` in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;

/// The longest `X-Correlation-Id` in bytes.
const MAX_CORRELATION_ID_BYTES: usize = 255;

/// A command's headers. As an extractor it refuses a key or correlation id that is empty, longer
/// than 255 bytes, not UTF-8 or given twice, and a precondition that is no version.
#[derive(Debug, Clone)]
pub struct CommandHeaders {
    /// What the store will know the command by.
    command_id: Option<String>,
    method_and_path: String,
    expected: ExpectedVersion,
    metadata: Metadata,
    respond_async: Option<RespondAsync>,
}

impl CommandHeaders {
    /// Whether the client prefers to be answered later.
    pub fn respond_async(&self) -> Option<RespondAsync> {
        self.respond_async
    }

    /// The options of a command whose request had this body, `&()` if it had none. Two bodies are
    /// the same request if they mean the same, however they were spaced or ordered.
    ///
    /// # Errors
    /// The body cannot be written as JSON.
    pub fn options(&self, body: &impl Serialize) -> Result<CommandOptions, Problem> {
        let key = self.command_id.as_ref().map(|id| self.key(id, body)).transpose()?;
        let (expected, metadata) = (self.expected, self.metadata.clone());
        Ok(CommandOptions { key, expected, metadata, decide_by: None })
    }

    fn key(&self, id: &str, body: &impl Serialize) -> Result<CommandKey, Problem> {
        // By way of a value, whose objects are sorted: a body may hold a map without an order.
        let body = serde_json::to_value(body).map_err(|error| Problem::internal(&error))?;
        let request = format!("{}\n{body}", self.method_and_path);
        CommandKey::new(id, request.as_bytes())
            .map_err(|error| Problem::new(400, "invalid_idempotency_key", error.to_string()))
    }

    /// An id for what the command creates: nobody has it, and for the same key it is the same one,
    /// so that a retry that got no answer does not create a second.
    pub fn new_id(&self) -> String {
        const NAMESPACE: Uuid = Uuid::from_u128(0x6f7c_2b9e_54a1_4d0f_8e35_1d7a_90c4_6b12);
        let id = match &self.command_id {
            Some(id) => Uuid::new_v5(&NAMESPACE, id.as_bytes()),
            None => Uuid::now_v7(),
        };
        id.to_string()
    }

    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let headers = request.headers();
        let actor = Principal::of(request).map(|principal| principal.id);
        let key = one(headers, "Idempotency-Key", MAX_IDEMPOTENCY_KEY_BYTES)
            .map_err(|detail| Problem::new(400, "invalid_idempotency_key", detail))?;
        let correlation_id = one(headers, "X-Correlation-Id", MAX_CORRELATION_ID_BYTES)
            .map_err(|detail| Problem::new(400, "invalid_correlation_id", detail))?;
        let trace = trace_context::of(headers);
        Ok(Self {
            command_id: key.map(|key| scoped(actor.as_deref(), key)),
            method_and_path: format!("{} {}", request.method(), request.path()),
            expected: precondition::of(headers)?,
            respond_async: RespondAsync::of(headers),
            metadata: Metadata {
                correlation_id: correlation_id.map(str::to_owned),
                actor,
                trace_context: trace.parent,
                extra: trace.state.map(|state| ("tracestate".into(), state)).into_iter().collect(),
                ..Metadata::default()
            },
        })
    }
}

/// The key among those of its principal. That one's length comes first, so that no other principal
/// and key make the same text, whatever they hold.
fn scoped(actor: Option<&str>, key: &str) -> String {
    let actor = actor.unwrap_or_default();
    format!("{}:{actor},{key}", actor.len())
}

/// The one value of a header, if it is there.
fn one<'a>(headers: &'a HeaderMap, name: &str, most: usize) -> Result<Option<&'a str>, String> {
    let mut given = headers.get_all(name);
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(format!("a request has one {name}"));
    }
    let text = std::str::from_utf8(value.as_bytes());
    let text = text.map_err(|_| format!("the header {name} is UTF-8"))?;
    match (1..=most).contains(&text.len()) && !text.chars().any(char::is_control) {
        true => Ok(Some(text)),
        false => Err(format!(
            "the header {name} has 1 to {most} bytes and no control character; this one has {} bytes",
            text.len()
        )),
    }
}

impl FromRequest for CommandHeaders {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

#[cfg(test)]
mod tests {
    use super::scoped;

    #[test]
    fn no_two_principals_have_a_key_in_common() {
        let keys = [
            (None, "c"),
            (None, "2:ab,c"),
            (None, "1:a,b,c"),
            (Some("ab"), "c"),
            (Some("a"), "b,c"),
            (Some("a"), "c"),
            (Some("ab,c"), "c"),
            (Some("2:ab"), "c"),
            (Some("2:ab,c"), "c"),
        ];
        let ids: std::collections::HashSet<_> =
            keys.iter().map(|(actor, key)| scoped(*actor, key)).collect();
        assert_eq!(ids.len(), keys.len(), "{ids:?}");
    }
}
