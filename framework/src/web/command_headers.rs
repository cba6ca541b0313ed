//! Headers of a command: idempotency key, expected version, correlation id, trace context.
//!
//! | header | becomes |
//! |---|---|
//! | `Idempotency-Key` | the command's key: the client's own, among the keys of its [`Principal`] |
//! | `If-Match: "3"`, `If-Match: *`, `If-None-Match: *` | the expected version |
//! | `X-Correlation-Id` | the correlation id |
//! | `traceparent`, `tracestate` | the trace context |
//! | `Prefer: respond-async` | how it is answered |
//!
//! A key is bound to method, route, decoded path parameters and body. So the same key on another
//! request is refused instead of returning the first request's outcome. `/accounts/a@b` and
//! `/accounts/a%40b` are the same request.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::Version;
use actix_web::http::header::HeaderMap;
use actix_web::web::Path;
use actix_web::{FromRequest, HttpRequest};
use serde::Serialize;
use uuid::Uuid;

use super::body::ReadBytes;
use super::input::MAX_BODY_BYTES;
use super::prefer::RespondAsync;
use super::principal::Principal;
use super::problem::Problem;
use super::{precondition, trace_context};
use crate::clock::{Clock, SystemClock};
use crate::command::{CommandKey, CommandOptions};
use crate::event::{ExpectedVersion, Metadata};

/// Maximum size of an `Idempotency-Key` in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;

/// Maximum size of an `X-Correlation-Id` in bytes.
const MAX_CORRELATION_ID_BYTES: usize = 255;

/// Headers of a command. The extractor refuses a key or correlation id that is empty, longer than
/// 255 bytes, not UTF-8 or sent twice, and a precondition that is not a version.
#[derive(Debug, Clone)]
pub struct CommandHeaders {
    /// Id of the command in the store.
    command_id: Option<String>,
    /// Method, route and path parameters.
    target: String,
    expected: ExpectedVersion,
    metadata: Metadata,
    respond_async: Option<RespondAsync>,
    /// Size of the body as declared by the headers.
    declared: usize,
    /// Size of the body as read by an extractor, before or after this one.
    read: ReadBytes,
}

impl CommandHeaders {
    /// Returns the client's preference for a deferred command, if there is one.
    pub fn respond_async(&self) -> Option<RespondAsync> {
        self.respond_async
    }

    /// Returns the options of a command whose request had this body, or `&()` if it had none. Two
    /// bodies with the same content are the same request, whatever their spacing and order of
    /// fields.
    ///
    /// # Errors
    /// The body cannot be written as JSON.
    pub fn options(&self, body: &impl Serialize) -> Result<CommandOptions, Problem> {
        let key = self.command_id.as_ref().map(|id| self.key(id, body)).transpose()?;
        let (expected, metadata) = (self.expected, self.metadata.clone());
        let bytes = self.read.get().unwrap_or(self.declared);
        Ok(CommandOptions { key, expected, metadata, decide_by: None, bytes })
    }

    fn key(&self, id: &str, body: &impl Serialize) -> Result<CommandKey, Problem> {
        // Converted to a `Value`, whose objects are sorted, because a body may contain a map
        // without an order.
        let body = serde_json::to_value(body).map_err(|error| Problem::internal(&error))?;
        let request = format!("{}\n{body}", self.target);
        CommandKey::new(id, request.as_bytes())
            .map_err(|error| Problem::new(400, "invalid_idempotency_key", error.to_string()))
    }

    /// Returns an id for something that the command creates. Requests with the same key get the
    /// same id, so a retry after a lost response does not create a second one.
    pub fn new_id(&self) -> String {
        const NAMESPACE: Uuid = Uuid::from_u128(0x6f7c_2b9e_54a1_4d0f_8e35_1d7a_90c4_6b12);
        let id = match &self.command_id {
            Some(id) => Uuid::new_v5(&NAMESPACE, id.as_bytes()),
            None => SystemClock.new_id(),
        };
        id.to_string()
    }

    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let headers = request.headers();
        let actor = Principal::of(request).map(|principal| principal.id);
        let key = one(headers, "Idempotency-Key", MAX_IDEMPOTENCY_KEY_BYTES)
            .and_then(|key| key.map(unquoted).transpose())
            .map_err(|detail| Problem::new(400, "invalid_idempotency_key", detail))?;
        let correlation_id = one(headers, "X-Correlation-Id", MAX_CORRELATION_ID_BYTES)
            .map_err(|detail| Problem::new(400, "invalid_correlation_id", detail))?;
        let trace = trace_context::of(headers);
        Ok(Self {
            command_id: key.map(|key| scoped(actor.as_deref(), &key)),
            target: target(request),
            expected: precondition::of(headers)?,
            respond_async: RespondAsync::of(headers),
            declared: declared_bytes(request),
            read: ReadBytes::of(request),
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

/// Returns the `Content-Length` of a request; actix has refused one that is not a number. A body
/// without it, chunked or in HTTP/2, counts as the largest body allowed, because nothing else
/// limits it.
fn declared_bytes(request: &HttpRequest) -> usize {
    let headers = request.headers();
    let length = headers.get("Content-Length").and_then(|length| length.to_str().ok());
    let is_open = headers.contains_key("Transfer-Encoding") || request.version() > Version::HTTP_11;
    let without = if is_open { MAX_BODY_BYTES } else { 0 };
    length.and_then(|length| length.parse().ok()).unwrap_or(without)
}

/// Returns method, route and decoded path parameters of a request. The text is the same however a
/// client escapes the path.
fn target(request: &HttpRequest) -> String {
    let values = Path::<Vec<String>>::from_request(request, &mut Payload::None).into_inner();
    match (request.match_pattern(), values) {
        // `Debug` quotes the values, so different lists give different texts.
        (Some(pattern), Ok(values)) => format!("{} {pattern} {values:?}", request.method()),
        // Without a route, or with bytes that are not UTF-8, no handler runs, so the path is
        // sufficient.
        _ => format!("{} {}", request.method(), request.path()),
    }
}

/// Decodes the key of a header: either a structured-field string (RFC 9651), as the header's draft
/// standard requires, or any other text as it is. `"k1"` and `k1` are the same key.
fn unquoted(key: &str) -> Result<String, String> {
    let Some(quoted) = key.strip_prefix('"') else { return Ok(key.to_owned()) };
    let wrong =
        || "an Idempotency-Key that begins with a quote must be a string such as \"k1\"".to_owned();
    let mut characters = quoted.strip_suffix('"').ok_or_else(wrong)?.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => characters.next().filter(|c| matches!(c, '"' | '\\')).ok_or_else(wrong)?,
            ' '..='~' if character != '"' => character,
            _ => return Err(wrong()),
        });
    }
    if text.is_empty() { Err("an Idempotency-Key is not empty".to_owned()) } else { Ok(text) }
}

/// Scopes a key to its principal. The length of the principal's id comes first, so that different
/// pairs of principal and key never give the same text.
fn scoped(actor: Option<&str>, key: &str) -> String {
    let actor = actor.unwrap_or_default();
    format!("{}:{actor},{key}", actor.len())
}

/// Returns the only value of a header, if there is one.
fn one<'a>(headers: &'a HeaderMap, name: &str, most: usize) -> Result<Option<&'a str>, String> {
    let mut given = headers.get_all(name);
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(format!("a request must have only one {name}"));
    }
    let text = std::str::from_utf8(value.as_bytes());
    let text = text.map_err(|_| format!("the header {name} must be UTF-8"))?;
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
    use actix_web::dev::Payload;
    use actix_web::test::TestRequest;
    use actix_web::{FromRequest, HttpRequest};
    use serde_json::{Map, Value};

    use super::{CommandHeaders, scoped, unquoted};
    use crate::web::body::{JsonBody, NoBody};
    use crate::web::input::MAX_BODY_BYTES;

    type Any = JsonBody<Map<String, Value>>;

    const BODY: &str = "{\"amount\": 3}";

    /// Returns a request with this header and this body. A `TestRequest` with a body has a length.
    fn request(header: (&'static str, &'static str)) -> (HttpRequest, Payload) {
        let json = ("content-type", "application/json");
        let request = TestRequest::post().insert_header(header).insert_header(json);
        let (_, payload) = TestRequest::post().set_payload(BODY).to_http_parts();
        (request.to_http_request(), payload)
    }

    #[actix_web::test]
    async fn a_command_counts_with_the_bytes_of_its_body_however_they_were_sent() {
        for header in [("content-length", "13"), ("transfer-encoding", "chunked")] {
            for is_body_first in [true, false] {
                let (request, mut payload) = request(header);
                let body = Any::from_request(&request, &mut payload);
                let (body, headers) = match is_body_first {
                    true => (body.await, CommandHeaders::of(&request).unwrap()),
                    false => {
                        let headers = CommandHeaders::of(&request).unwrap();
                        (body.await, headers)
                    }
                };
                let bytes = headers.options(&body.unwrap()).unwrap().bytes;
                assert_eq!(bytes, BODY.len(), "{header:?}, body first: {is_body_first}");
            }
        }
    }

    #[actix_web::test]
    async fn a_body_of_unknown_length_that_was_not_read_counts_as_the_largest() {
        let (chunked, _) = request(("transfer-encoding", "chunked"));
        let headers = CommandHeaders::of(&chunked).unwrap();
        assert_eq!(headers.options(&()).unwrap().bytes, MAX_BODY_BYTES);
        let (none, mut payload) = TestRequest::post().to_http_parts();
        let headers = CommandHeaders::of(&none).unwrap();
        assert_eq!(headers.options(&()).unwrap().bytes, 0);
        NoBody::from_request(&none, &mut payload).await.unwrap();
        assert_eq!(headers.options(&()).unwrap().bytes, 0);
    }

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        for (header, key) in [
            ("k1", "k1"),
            ("\"k1\"", "k1"),
            ("\"a \\\"b\\\" \\\\ c\"", "a \"b\" \\ c"),
            ("k\"1\"", "k\"1\""),
            ("é", "é"),
        ] {
            assert_eq!(unquoted(header).as_deref(), Ok(key), "{header}");
        }
        for wrong in
            ["\"", "\"k1", "\"\"", "\"k1\";p=1", "\"k\"1\"", "\"k\\1\"", "\"k\\\"", "\"é\""]
        {
            assert!(unquoted(wrong).is_err(), "{wrong}");
        }
    }

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
