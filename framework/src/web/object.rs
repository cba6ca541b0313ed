//! What a JSON body may be: an object, or nothing at all.
//!
//! serde reads a struct from an array as well, field by field, so `[1250]` would pass for
//! `{"amount": 1250}`; and a route that takes no body would ignore one. Both are refused here.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::web::Problem;

/// A `T` that was written as a JSON object: `Json<Object<T>>` is a request's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Object<T>(pub T);

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfMap(PhantomData))
    }
}

struct OfMap<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// The body of a request that needs none: empty, or `{}` from a client that always sends one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoBody;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl NoBody {
    fn of(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self);
        }
        match serde_json::from_slice::<Object<Nothing>>(body) {
            Ok(_) => Ok(Self),
            Err(error) => Err(Problem::new(400, "malformed_body", error.to_string())),
        }
    }
}

impl FromRequest for NoBody {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = Bytes::from_request(request, payload);
        Box::pin(async move {
            match body.await {
                Ok(body) => Self::of(&body),
                Err(error) if is_too_large(&error) => Err(Problem::body_too_large()),
                Err(_) => Err(Problem::unreadable_body()),
            }
        })
    }
}

fn is_too_large(error: &actix_web::Error) -> bool {
    error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE
}
