//! Response of a command that was carried out: `{"id", "version", "position"}`.
//!
//! The response depends only on the request and on the stored outcome, so a retry with the same key
//! gets the same bytes. Only the header `Idempotency-Replayed: true` is different.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::Serialize;

use super::freshness::POSITION_HEADER;
use super::precondition::etag;
use crate::command::Committed;
use crate::event::{GlobalPosition, StreamVersion};

/// Header of a response that repeats the outcome of an earlier request with the same key.
pub const REPLAYED_HEADER: &str = "Idempotency-Replayed";

/// Response of a command. A read with `after` set to its `position` includes the command.
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
    /// Creates a 200 response: the aggregate `id` carried out the command.
    pub fn done(id: impl Into<String>, committed: Committed) -> Self {
        let Committed { version, position, replayed } = committed;
        Self { body: Body { id: id.into(), version, position }, location: None, replayed }
    }

    /// Creates a 201 response: the aggregate `id` now exists, at `location`.
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
