//! What a command that was carried out answers over HTTP: `{"id", "version", "position"}`.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::Serialize;

use crate::command::Committed;
use crate::stream::{GlobalPosition, StreamVersion};

/// The answer of a command. Its `position` is what a read passes as `after` to see the command.
#[derive(Debug, Clone)]
pub struct CommandAnswer {
    body: Body,
    location: Option<String>,
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
        let Committed { version, position, .. } = committed;
        Self { body: Body { id: id.into(), version, position }, location: None }
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
        match self.location {
            None => HttpResponse::Ok().json(self.body),
            Some(location) => {
                HttpResponse::Created().insert_header((header::LOCATION, location)).json(self.body)
            }
        }
    }
}
