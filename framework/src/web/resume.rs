//! Position from which a reconnecting client resumes: the header `Last-Event-ID`, or `?after=`.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Query;
use actix_web::{FromRequest, HttpRequest};
use serde::Deserialize;

use super::problem::Problem;

/// Number of the last event that the client has received, 0 if none. The extractor prefers the
/// header to the query, because a browser that reconnects repeats the original query. A value that
/// is not a number is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeAfter(pub u64);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: u64,
}

impl ResumeAfter {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let query = Query::<After>::from_query(request.query_string());
        let query = query.map_err(|e| Problem::new(400, "invalid_query", e.to_string()))?;
        let mut given = request.headers().get_all("last-event-id");
        let Some(header) = given.next() else { return Ok(Self(query.after)) };
        let number = header.to_str().ok().and_then(|text| text.parse().ok());
        match number.filter(|_| given.next().is_none()) {
            Some(number) => Ok(Self(number)),
            None => {
                let detail = "Last-Event-ID must be the id of an event of this stream, a number";
                Err(Problem::new(400, "invalid_last_event_id", detail))
            }
        }
    }
}

impl FromRequest for ResumeAfter {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}
