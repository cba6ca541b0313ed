//! Deadlines of requests: for the body to arrive, and for the response to begin.
//!
//! actix only limits the time of the head of a connection's first request. The middleware
//! [`deadlines`] limits the rest. A late body gets a 408, a late response a 503. A command
//! continues after its deadline, because nothing is committed on a task that a caller can cancel.
//! The duration of a response body, such as a live stream, is not limited.
//!
//! If the response is sent before the request body has been read, the connection is closed.

use std::cell::RefCell;
use std::fmt;
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError};
use futures_core::Stream;
use tokio::time::{Sleep, sleep, timeout};

use super::problem::Problem;

/// Deadlines of every request. Pass another value to the `App` with `app_data`.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Time from the head of a request to the end of its body. Default 10 s.
    pub body: Duration,
    /// Time from the head of a request to the head of its response. Default 30 s.
    pub request: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { body: Duration::from_secs(10), request: Duration::from_secs(30) }
    }
}

/// Applies [`Deadlines`] to every request: `App::new().wrap(from_fn(deadlines))`.
///
/// # Errors
/// [`Problem`]: 408 `body_too_slow`; 503 `outcome_unknown`, or `too_slow` for a safe method.
pub(super) async fn deadlines<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let deadlines = request.app_data::<Deadlines>().copied().unwrap_or_default();
    let is_read = request.method().is_safe();
    let incoming = Incoming::take(&mut request, deadlines.body);
    let answer = timeout(deadlines.request, next.call(request)).await;
    let progress = incoming.as_ref().map(|incoming| incoming.0.borrow().progress);
    let problem = match (answer, progress) {
        (_, Some(Progress::Late)) => Problem::body_too_slow(),
        (Ok(answer), Some(Progress::Reading)) => {
            return Ok(answer?.map_body(|_, b| holding(b, incoming)));
        }
        (Ok(answer), _) => return Ok(answer?.map_into_boxed_body()),
        // Only a command has an outcome that the client must learn with the same key.
        (Err(_), _) if is_read => Problem::for_now("too_slow", "the response took too long"),
        (Err(_), _) => Problem::outcome_unknown(),
    };
    tracing::warn!(%problem, "a request exceeded its deadline");
    Err(Missed { problem, incoming }.into())
}

/// Body of a request that is being received, with its deadline.
#[derive(Clone)]
struct Incoming(Rc<RefCell<Body>>);

struct Body {
    payload: Payload,
    deadline: Pin<Box<Sleep>>,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Reading,
    Ended,
    Late,
}

impl Incoming {
    /// Wraps the body of a request, if it has one.
    fn take(request: &mut ServiceRequest, within: Duration) -> Option<Self> {
        let payload = request.take_payload();
        if matches!(payload, Payload::None) {
            return None;
        }
        let deadline = Box::pin(sleep(within));
        let body = Body { payload, deadline, progress: Progress::Reading };
        let incoming = Self(Rc::new(RefCell::new(body)));
        request.set_payload(Payload::Stream { payload: Box::pin(incoming.clone()) });
        Some(incoming)
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut body = self.0.borrow_mut();
        if body.progress == Progress::Ended {
            return Poll::Ready(None);
        }
        // Checked before the payload, because a body that trickles in byte by byte is late too.
        if body.deadline.as_mut().poll(context).is_ready() {
            body.progress = Progress::Late;
            return Poll::Ready(Some(Err(PayloadError::Io(ErrorKind::TimedOut.into()))));
        }
        let part = std::task::ready!(Pin::new(&mut body.payload).poll_next(context));
        if part.is_none() {
            body.progress = Progress::Ended;
        }
        Poll::Ready(part)
    }
}

/// Body of a response that is sent before the request body has been read, together with the unread
/// rest. If that rest were dropped before the response is sent, actix would continue to read a
/// chunked body indefinitely instead of closing the connection.
struct Holding<B> {
    body: Pin<Box<B>>,
    _unread: Option<Incoming>,
}

fn holding<B: MessageBody + 'static>(body: B, unread: Option<Incoming>) -> BoxBody {
    BoxBody::new(Holding { body: Box::pin(body), _unread: unread })
}

impl<B: MessageBody> MessageBody for Holding<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, B::Error>>> {
        self.body.as_mut().poll_next(context)
    }
}

/// Response to a request that missed a deadline.
struct Missed {
    problem: Problem,
    incoming: Option<Incoming>,
}

impl fmt::Debug for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.problem, f)
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.problem, f)
    }
}

impl ResponseError for Missed {
    fn status_code(&self) -> StatusCode {
        self.problem.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let response = self.problem.error_response();
        response.map_body(|_, body| holding(body, self.incoming.clone()))
    }
}

impl Problem {
    fn body_too_slow() -> Self {
        Self::new(408, "body_too_slow", "the body took too long to arrive; nothing was done")
    }
}
