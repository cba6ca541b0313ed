//! Server-sent events: a live stream as a response without an end.
//!
//! The next message is fetched only when the connection has room for it. So a client that does not
//! read costs the write buffer of its connection and delays no other client. It counts towards
//! `Settings::live_streams` until its connection breaks. actix has no timeout for a write without
//! progress. Set `TCP_USER_TIMEOUT` on the listener, as [`Server`](super::Server) does, or
//! configure a timeout in a proxy.

use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::Serialize;
use tokio::time::{Instant, Sleep, sleep};

use super::problem::Problem;

/// Settings of live streams. Pass another value to the `App` with `app_data`.
#[derive(Debug, Clone)]
pub struct SseConfig {
    /// Interval without a message after which a comment is sent, so that both ends notice a broken
    /// connection. Default 15 s.
    pub heartbeat: Duration,
    /// Time that a disconnected client waits before it reconnects. Default 1 s.
    pub retry: Duration,
    /// Maximum duration of a stream; it ends between two messages. The client reconnects
    /// automatically, resumes after the last message, and authenticates again, so a revoked
    /// credential stops working. Default 15 min.
    pub lasts: Duration,
}

impl Default for SseConfig {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { heartbeat: 15 * second, retry: second, lasts: 900 * second }
    }
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseMessage(String);

impl SseMessage {
    /// Creates a message with an id to resume after, an event type, and data as one line of JSON.
    ///
    /// # Errors
    /// The data cannot be written as JSON.
    pub fn new(id: u64, event: &str, data: &impl Serialize) -> Result<Self, Problem> {
        let data = serde_json::to_string(data).map_err(|error| Problem::internal(&error))?;
        let mut text = format!("id: {id}\n");
        // A line break would end the field, and the rest would be parsed as other fields.
        let field = |text: &mut String, name: &str, value: &str| {
            for line in value.split(['\r', '\n']) {
                let _ = writeln!(text, "{name}: {line}"); // a String takes all
            }
        };
        field(&mut text, "event", event);
        field(&mut text, "data", &data);
        text.push('\n');
        Ok(Self(text))
    }
}

/// A response that sends each message when it is available, and comments in between. It ends with
/// the messages or after its maximum duration. At an error it is aborted: the client reconnects and
/// gets the error as a response.
pub struct ServerSentEvents<F> {
    next: F,
}

type Next = Result<Option<SseMessage>, Problem>;

impl<F: AsyncFnMut() -> Next + 'static> ServerSentEvents<F> {
    /// Creates a response that sends the messages of `next` until it returns `None`.
    pub fn new(next: F) -> Self {
        Self { next }
    }
}

impl<F: AsyncFnMut() -> Next + 'static> Responder for ServerSentEvents<F> {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let config = request.app_data::<SseConfig>().cloned().unwrap_or_default();
        HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "text/event-stream"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            // Prevents a buffering proxy from delaying the messages.
            .insert_header(("X-Accel-Buffering", "no"))
            .body(Stream {
                opening: Some(format!("retry: {}\n\n", config.retry.as_millis())),
                fetching: Some(fetch(self.next)),
                silence: Box::pin(sleep(config.heartbeat)),
                heartbeat: config.heartbeat,
                end: Box::pin(sleep(config.lasts)),
            })
    }
}

/// Body of the response.
struct Stream<F> {
    opening: Option<String>,
    fetching: Option<Fetching<F>>,
    silence: Pin<Box<Sleep>>,
    heartbeat: Duration,
    end: Pin<Box<Sleep>>,
}

/// Future of the next message. It returns the source of messages too, and is kept when a heartbeat
/// is due.
type Fetching<F> = Pin<Box<dyn Future<Output = (F, Next)>>>;

fn fetch<F: AsyncFnMut() -> Next + 'static>(mut next: F) -> Fetching<F> {
    Box::pin(async move {
        let message = next().await;
        (next, message)
    })
}

impl<F: AsyncFnMut() -> Next + 'static> Stream<F> {
    fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<String, Problem>>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(Ok(opening)));
        }
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        let Some(fetching) = &mut self.fetching else { return Poll::Ready(None) };
        if let Poll::Ready((next, message)) = fetching.as_mut().poll(context) {
            self.fetching = None;
            return Poll::Ready(message.transpose().map(|message| {
                self.fetching = Some(fetch(next));
                message.map(|SseMessage(text)| text)
            }));
        }
        self.silence.as_mut().poll(context).map(|()| Some(Ok(": heartbeat\n\n".to_owned())))
    }
}

impl<F: AsyncFnMut() -> Next + 'static> MessageBody for Stream<F> {
    type Error = Problem;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Problem>>> {
        let text = std::task::ready!(self.poll_text(context));
        let due = Instant::now() + self.heartbeat;
        self.silence.as_mut().reset(due);
        Poll::Ready(text.map(|text| text.map(Bytes::from)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn a_line_break_in_a_value_begins_no_field_of_its_own() {
        let data = RawValue::from_string("{\"a\":\n1}".to_owned()).unwrap();
        let SseMessage(text) = SseMessage::new(7, "A\r\nid: 9", &data).unwrap();
        assert_eq!(text, "id: 7\nevent: A\nevent: \nevent: id: 9\ndata: {\"a\":\ndata: 1}\n\n");
    }
}
