//! Extractors of request bodies: strict JSON, and no body.
//!
//! [`JsonBody`] accepts exactly one JSON object: in UTF-8, with a JSON media type, of at most
//! [`MAX_BODY_BYTES`], without unknown fields, without arrays in place of objects, and with nothing
//! after it. It needs no configuration of the `App`. The application defines the fields.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{self, Bytes};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::input::MAX_BODY_BYTES;
use super::problem::Problem;
use super::strict::Strict;

/// A `T` that a client sent as a JSON object: the argument of a handler with a body.
///
/// Unknown fields and positional arrays are refused at every depth where a struct or a struct
/// variant is expected, whatever the attributes of `T`. Fields under `#[serde(flatten)]` and in
/// untagged or internally tagged enums are not checked, because serde buffers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct JsonBody<T>(pub T);

impl<T> Deref for JsonBody<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned> JsonBody<T> {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let malformed = |reason: String| Problem::new(400, "malformed_body", reason);
        // A `T` that is not a struct would otherwise accept any JSON.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(malformed("the body must be a JSON object".to_owned()));
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let value = T::deserialize(Strict::new(&mut json));
        let value = value.and_then(|value| json.end().map(|()| value));
        value.map(Self).map_err(|error| malformed(error.to_string()))
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for JsonBody<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = check_media_type(request);
        let body = read(request, payload);
        Box::pin(async move {
            is_json?;
            Self::parse(&body.await?)
        })
    }
}

/// Body of a request that needs none: empty, or `{}` from a client that always sends one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoBody;

#[derive(Deserialize)]
struct Nothing {}

impl FromRequest for NoBody {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read(request, payload);
        Box::pin(async move {
            let body = body.await?;
            if body.is_empty() {
                return Ok(Self);
            }
            JsonBody::<Nothing>::parse(&body).map(|_| Self)
        })
    }
}

/// Checks that there is one `Content-Type` and that it is JSON in UTF-8, the only encoding of JSON
/// (RFC 8259).
fn check_media_type(request: &HttpRequest) -> Result<(), Problem> {
    let is_one = request.headers().get_all(header::CONTENT_TYPE).count() == 1;
    let declared = request.mime_type().ok().flatten().filter(|_| is_one);
    let is_json = declared.is_some_and(|mime| {
        let is_utf8 = mime.get_param("charset").is_none_or(|charset| charset == "utf-8");
        is_utf8 && (mime.subtype() == "json" || mime.suffix().is_some_and(|it| it == "json"))
    });
    if is_json {
        return Ok(());
    }
    let detail = "the body must be JSON in UTF-8 with Content-Type: application/json";
    Err(Problem::new(415, "unsupported_media_type", detail))
}

/// Size of a request's body, once an extractor has read it. Shared by clones.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadBytes(Arc<OnceLock<usize>>);

impl ReadBytes {
    /// Returns the size that all extractors of this request share.
    pub(super) fn of(request: &HttpRequest) -> Self {
        let mut extensions = request.extensions_mut();
        if let Some(known) = extensions.get::<Self>() {
            return known.clone();
        }
        let new = Self::default();
        extensions.insert(new.clone());
        new
    }

    /// Number of bytes, or `None` if no body has been read yet.
    pub(super) fn get(&self) -> Option<usize> {
        self.0.get().copied()
    }
}

/// Reads the whole body. If it is larger than allowed, reading stops with an error.
fn read(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    let is_too_large =
        declared_length(request.headers()).is_some_and(|n| n > MAX_BODY_BYTES as u64);
    let payload = web::Payload::from_request(request, payload).into_inner();
    let counted = ReadBytes::of(request);
    async move {
        if is_too_large {
            return Err(Problem::body_too_large());
        }
        let payload = payload.map_err(|_| Problem::unreadable_body())?;
        let body = payload.to_bytes_limited(MAX_BODY_BYTES).await;
        let body = body.map_err(|_| Problem::body_too_large())?;
        let body = body.map_err(|_| Problem::unreadable_body())?;
        // A request has only one body, so the value is set only once.
        let _ = counted.0.set(body.len());
        Ok(body)
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Amount {
        amount: u32,
    }

    /// Reads without any configuration of an `App`, like in a program of one file.
    async fn read(content_type: &str, body: impl Into<Vec<u8>>) -> Result<Amount, String> {
        let request = TestRequest::post().insert_header(("content-type", content_type));
        let (request, mut payload) = request.set_payload(body.into()).to_http_parts();
        let read = JsonBody::<Amount>::from_request(&request, &mut payload).await;
        read.map(|body| body.0).map_err(|problem| problem.code().to_owned())
    }

    #[actix_web::test]
    async fn a_body_is_exactly_one_object_of_known_fields() {
        let json = "application/json";
        for body in ["{\"amount\": 3}", " \r\n\t{\"amount\":3}\n"] {
            assert_eq!(read(json, body).await, Ok(Amount { amount: 3 }), "{body:?}");
        }
        for body in [
            "[3]",
            "[[3]]",
            "3",
            "",
            "{\"amount\": 3, \"to\": \"eve\"}",
            "{\"amount\": 3}{}",
            "{\"amount\": 3} 4",
            "{\"amount\": 3, \"amount\": 3}",
            "{\"amount\": [3]}",
            "\u{feff}{\"amount\": 3}",
        ] {
            assert_eq!(read(json, body).await, Err("malformed_body".into()), "{body}");
        }
        let long = format!("{{\"amount\": {}3}}", " ".repeat(MAX_BODY_BYTES));
        assert_eq!(read(json, long).await, Err("body_too_large".into()));
    }

    #[actix_web::test]
    async fn a_body_says_that_it_is_json_in_utf_8() {
        let body = "{\"amount\": 3}";
        for good in
            ["application/json", "application/json; charset=UTF-8", "application/vnd.bank+json"]
        {
            assert!(read(good, body).await.is_ok(), "{good}");
        }
        for wrong in ["", "text/json2", "text/plain", "application/json; charset=utf-16"] {
            assert_eq!(read(wrong, body).await, Err("unsupported_media_type".into()), "{wrong}");
        }
    }
}
