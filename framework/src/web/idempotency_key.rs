//! The `Idempotency-Key` header: the client's name for one command.
//!
//! The key is bound to method, path and body, so that the same key on another request is noticed
//! and refused instead of answered with the first one's outcome.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::Serialize;

use crate::command::{CommandKey, CommandOptions, InvalidCommandId, MAX_COMMAND_ID_BYTES};
use crate::web::Problem;

/// The request's `Idempotency-Key`, if it has one. As an extractor it refuses one that is empty,
/// longer than 255 bytes, not UTF-8 or given twice.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    id: Option<String>,
    method_and_path: String,
}

impl IdempotencyKey {
    /// The key as the client wrote it.
    pub fn as_str(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The options of a command whose request had this body, `&()` if it had none. Two bodies are
    /// the same request if they mean the same, however they were spaced or ordered.
    ///
    /// # Errors
    /// The body cannot be written as JSON.
    pub fn options(&self, body: &impl Serialize) -> Result<CommandOptions, Problem> {
        let Some(id) = &self.id else { return Ok(CommandOptions::default()) };
        // By way of a value, whose objects are sorted: a body may hold a map without an order.
        let body = serde_json::to_value(body).map_err(|error| Problem::internal(&error))?;
        let request = format!("{}\n{body}", self.method_and_path);
        let key = CommandKey::new(id.as_str(), request.as_bytes()).map_err(Self::invalid)?;
        Ok(CommandOptions::keyed(key))
    }

    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let refused = |detail| Problem::new(400, "invalid_idempotency_key", detail);
        let mut given = request.headers().get_all("idempotency-key");
        let Some(value) = given.next() else {
            return Ok(Self { id: None, method_and_path: String::new() });
        };
        if given.next().is_some() {
            return Err(refused("a request has one Idempotency-Key"));
        }
        let bytes = value.as_bytes();
        if bytes.is_empty() || bytes.len() > MAX_COMMAND_ID_BYTES {
            return Err(Self::invalid(InvalidCommandId { bytes: bytes.len() }));
        }
        let id = std::str::from_utf8(bytes).map_err(|_| refused("an Idempotency-Key is UTF-8"))?;
        let method_and_path = format!("{} {}", request.method(), request.path());
        Ok(Self { id: Some(id.to_owned()), method_and_path })
    }

    fn invalid(error: InvalidCommandId) -> Problem {
        Problem::new(400, "invalid_idempotency_key", error.to_string())
    }
}

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}
