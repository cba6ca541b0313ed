//! Problem documents (RFC 9457): how an error looks on the wire.
//!
//! `type` is `about:blank`, so `title` is the status' own phrase; programs look at `code`, people
//! at `detail`. Internals never leave: what went wrong on our side goes to the log instead.

use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, Responder, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};

/// An error on its way to the client, as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retry_after_s: Option<u32>,
    allow: Option<String>,
    challenge: bool,
    members: Map<String, Value>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

/// The longest detail in characters: some messages quote what the client sent.
const MAX_DETAIL_CHARS: usize = 500;

impl Problem {
    /// A problem with this HTTP status (500 if it is none), a code for programs that never
    /// changes, and a sentence for people.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let detail = detail.into().chars().take(MAX_DETAIL_CHARS).collect();
        Self {
            status,
            code,
            detail,
            retry_after_s: None,
            allow: None,
            challenge: false,
            members: Map::new(),
        }
    }

    /// Our mistake or the data's: logged in full, told without internals (500).
    pub fn internal(error: &dyn fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(500, "internal", "the server could not do this; its log says why")
    }

    /// Nobody has proven who they are (401); told alike whatever was wrong, with the challenge to
    /// send a bearer credential.
    pub fn unauthenticated() -> Self {
        let detail = "this needs a credential: Authorization: Bearer …";
        Self { challenge: true, ..Self::new(401, "unauthenticated", detail) }
    }

    /// Tells the client when to try again, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Tells programs more: a member of the document besides the standard ones.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Tells the client which methods the resource has.
    #[must_use]
    pub(super) fn allow(mut self, methods: &str) -> Self {
        self.allow = Some(methods.to_owned());
        self
    }

    /// The code for programs.
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            members: &self.members,
        };
        let mut response = HttpResponse::build(self.status);
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if let Some(methods) = &self.allow {
            response.insert_header((header::ALLOW, methods.as_str()));
        }
        if self.challenge {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        response.json(document)
    }
}

impl Responder for Problem {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.error_response()
    }
}
