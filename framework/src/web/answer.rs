//! Response of a command that was carried out: `{"id", "version", "position"}`.
//!
//! The response depends only on the request and on the stored outcome, so a retry with the same key
//! gets the same bytes. Only the header `Idempotency-Replayed: true` is different.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::Serialize;
use utoipa::ToSchema;

use super::freshness::POSITION_HEADER;
use super::prefer::Accepted;
use super::problem::etag;
use crate::command::Committed;
use crate::event::{GlobalPosition, StreamVersion};

/// Header of a response that repeats the outcome of an earlier request with the same key.
pub const REPLAYED_HEADER: &str = "Idempotency-Replayed";

/// Response of a command: it was carried out, or accepted to be carried out later if the client
/// prefers that.
#[derive(Debug, Clone)]
pub struct CommandAnswer(Outcome);

#[derive(Debug, Clone)]
enum Outcome {
    Done { body: Body, status: StatusCode, location: Option<String>, replayed: bool },
    Accepted(Accepted),
}

/// Response of a command that was carried out.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Committed)]
pub(super) struct Body {
    /// Id of the aggregate.
    id: String,
    /// Version of the aggregate after the command.
    #[schema(value_type = u64)]
    version: StreamVersion,
    /// Position of the command in the log: a read with this as `after` includes the command.
    #[schema(value_type = u64)]
    position: GlobalPosition,
}

impl CommandAnswer {
    /// Creates a 200 response: the aggregate `id` carried out the command.
    pub fn done(id: impl Into<String>, committed: Committed) -> Self {
        let Committed { version, position, replayed, .. } = committed;
        let body = Body { id: id.into(), version, position };
        Self(Outcome::Done { body, status: StatusCode::OK, location: None, replayed })
    }

    /// Turns the response into a 201: the aggregate now exists, and its `Location` is `path`, a
    /// slash and its id.
    #[must_use]
    pub fn created_at(self, path: &str) -> Self {
        self.located(StatusCode::CREATED, path)
    }

    /// Turns the response into a 202: the aggregate now exists, and a process manager continues.
    /// The `Location` is `path`, a slash and the id of the aggregate.
    #[must_use]
    pub fn started_at(self, path: &str) -> Self {
        self.located(StatusCode::ACCEPTED, path)
    }

    fn located(mut self, with: StatusCode, path: &str) -> Self {
        if let Outcome::Done { body, status, location, .. } = &mut self.0 {
            *location = Some(format!("{}/{}", path.trim_end_matches('/'), body.id));
            *status = with;
        }
        self
    }

    pub(super) fn accepted(accepted: Accepted) -> Self {
        Self(Outcome::Accepted(accepted))
    }
}

impl Responder for CommandAnswer {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let (body, status, location, replayed) = match self.0 {
            Outcome::Done { body, status, location, replayed } => {
                (body, status, location, replayed)
            }
            Outcome::Accepted(accepted) => return accepted.respond_to(request),
        };
        let mut response = HttpResponse::build(status);
        if let Some(location) = location {
            response.insert_header((header::LOCATION, location));
        }
        response.insert_header((POSITION_HEADER, body.position.to_string()));
        if let Some(etag) = etag(body.version) {
            response.insert_header((header::ETAG, etag));
        }
        if replayed {
            response.insert_header((REPLAYED_HEADER, "true"));
        }
        response.json(body)
    }
}
