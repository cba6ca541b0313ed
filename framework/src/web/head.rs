//! `HEAD`: the head that `GET` would have, and no body.
//!
//! actix polls the body of an answer to `HEAD` to its end and throws it away, so a live stream would
//! keep its connection until the stream ends. Here the body is dropped before it is sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::web::Bytes;

/// The same answer without its body, which is dropped. Its length stays in the head.
pub(super) fn without_body(answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    answer.map_body(|_, body| BoxBody::new(Absent { size: body.size() }))
}

/// A body that says how long it would be and ends at once.
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
