//! Problem documents (RFC 9457): how an error looks on the wire.
//!
//! `type` is `about:blank`, so `title` is the status' own phrase; programs look at `code`, people
//! at `detail`. Internals never leave: what went wrong on our side goes to the log instead.

use std::borrow::Cow;
use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpRequest, HttpResponse, Responder, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};

use super::precondition::etag;
use crate::event::StreamVersion;

/// An error on its way to the client, as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    headers: Vec<(HeaderName, String)>,
    members: Map<String, Value>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

/// The longest detail in characters: some messages quote what the client sent.
const MAX_DETAIL_CHARS: usize = 500;

impl Problem {
    /// A problem with this HTTP status (500 if it is none), a code for programs that never
    /// changes, and a sentence for people.
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let detail = detail.into().chars().take(MAX_DETAIL_CHARS).collect();
        Self { status, code: code.into(), detail, headers: Vec::new(), members: Map::new() }
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
        Self::new(401, "unauthenticated", detail).header(header::WWW_AUTHENTICATE, "Bearer")
    }

    /// Tells the client when to try again, in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        self.header(header::RETRY_AFTER, seconds.to_string())
    }

    /// Goes out with this header, too. A value that cannot be one makes a 500 of it.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Tells the version that an aggregate has, as a member and as `ETag`.
    #[must_use]
    pub(super) fn version(self, version: StreamVersion) -> Self {
        let problem = self.member("version", version.0);
        match etag(version) {
            Some(etag) => problem.header(header::ETAG, etag),
            None => problem,
        }
    }

    /// Tells programs more: a member of the document besides the standard ones.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Tells the client which methods the resource has.
    #[must_use]
    pub(super) fn allow(self, methods: &str) -> Self {
        self.header(header::ALLOW, methods)
    }

    /// The code for programs.
    pub fn code(&self) -> &str {
        &self.code
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
            code: &self.code,
            members: &self.members,
        };
        let mut response = HttpResponse::build(self.status);
        for (name, value) in &self.headers {
            response.append_header((name.clone(), value.as_str()));
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
