//! Problem documents (RFC 9457): errors as responses.
//!
//! The `type` is `about:blank`, so `title` is the phrase of the status. Programs use `code`, people
//! read `detail`. Internal details are logged but never sent.

use std::borrow::Cow;
use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpRequest, HttpResponse, Responder, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::event::StreamVersion;

/// An error response of the media type `application/problem+json`.
///
/// ```
/// use actum::web::Problem;
///
/// let problem = Problem::new(404, "unknown_order", "there is no such order").member("order", "42");
/// assert_eq!(problem.code(), "unknown_order");
/// ```
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

/// Returns the tag of a version. A version of zero has none, because there is no event yet.
pub(super) fn etag(version: StreamVersion) -> Option<String> {
    (version > StreamVersion::ZERO).then(|| format!("\"{version}\""))
}

/// Maximum length of the detail in characters, because some messages quote what the client sent.
const MAX_DETAIL_CHARS: usize = 500;

impl Problem {
    /// Creates a problem with an HTTP status (500 if it is invalid), a code for programs that must
    /// never change, and a sentence for people.
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let detail = detail.into().chars().take(MAX_DETAIL_CHARS).collect();
        Self { status, code: code.into(), detail, headers: Vec::new(), members: Map::new() }
    }

    /// Creates a 500 problem for an error of the server or its data. The error is logged in full;
    /// the response contains no internal details.
    pub fn internal(error: &dyn fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(500, "internal", "internal error; see the server's log")
    }

    /// Creates a 401 problem with a challenge for a bearer credential. The response is the same
    /// whatever was wrong with the credential.
    pub fn unauthenticated() -> Self {
        let detail = "credentials are required: Authorization: Bearer …";
        Self::new(401, "unauthenticated", detail).header(header::WWW_AUTHENTICATE, "Bearer")
    }

    /// Sets the `Retry-After` header, in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        self.header(header::RETRY_AFTER, seconds.to_string())
    }

    /// Adds a header to the response. An invalid value turns the response into a 500.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds the version of the aggregate as a member and as `ETag`.
    #[must_use]
    pub(super) fn version(self, version: StreamVersion) -> Self {
        let problem = self.member("version", version.0);
        match etag(version) {
            Some(etag) => problem.header(header::ETAG, etag),
            None => problem,
        }
    }

    /// Adds a member to the document, for programs.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the `Allow` header with the methods of the resource.
    #[must_use]
    pub(super) fn allow(self, methods: &str) -> Self {
        self.header(header::ALLOW, methods)
    }

    /// Code for programs.
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
