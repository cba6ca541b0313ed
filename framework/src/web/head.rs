//! Responses to `HEAD`: the headers of the `GET` response, without a body.
//!
//! actix reads the body of a response to `HEAD` to its end and discards it, so a live stream would
//! occupy its connection until the stream ends. Here the body is dropped before the response is
//! sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::web::Bytes;

/// Drops the body of a response. The headers still have its length.
pub(super) fn without_body(answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    answer.map_body(|_, body| BoxBody::new(Absent { size: body.size() }))
}

/// An empty body that reports the length of the dropped one.
struct Absent {
    size: BodySize,
}

impl MessageBody for Absent {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}
