//! What a command that was carried out answers over HTTP: `{"id", "version", "position"}`.
//!
//! It is a function of the request and of the stored outcome, so a command sent again with its key
//! is answered as before, byte for byte; only `Idempotency-Replayed: true` tells the difference.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::Serialize;

use super::freshness::POSITION_HEADER;
use super::precondition::etag;
use crate::command::Committed;
use crate::event::{GlobalPosition, StreamVersion};

/// The header of an answer that was given before, to the same request with the same key.
pub const REPLAYED_HEADER: &str = "Idempotency-Replayed";

/// The answer of a command. Its `position` is what a read passes as `after` to see the command.
#[derive(Debug, Clone)]
pub struct CommandAnswer {
    body: Body,
    location: Option<String>,
    replayed: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Body {
    id: String,
    version: StreamVersion,
    position: GlobalPosition,
}

impl CommandAnswer {
    /// 200: the aggregate `id` carried it out.
    pub fn done(id: impl Into<String>, committed: Committed) -> Self {
        let Committed { version, position, replayed } = committed;
        Self { body: Body { id: id.into(), version, position }, location: None, replayed }
    }

    /// 201: the aggregate `id` now exists, at `location`.
    pub fn created(
        id: impl Into<String>,
        location: impl Into<String>,
        committed: Committed,
    ) -> Self {
        Self { location: Some(location.into()), ..Self::done(id, committed) }
    }
}

impl Responder for CommandAnswer {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let mut response = match self.location {
            None => HttpResponse::Ok(),
            Some(location) => {
                let mut created = HttpResponse::Created();
                created.insert_header((header::LOCATION, location));
                created
            }
        };
        response.insert_header((POSITION_HEADER, self.body.position.to_string()));
        if let Some(etag) = etag(self.body.version) {
            response.insert_header((header::ETAG, etag));
        }
        if self.replayed {
            response.insert_header((REPLAYED_HEADER, "true"));
        }
        response.json(self.body)
    }
}
