//! Request log: one line per request with its route, result and duration.
//!
//! A line contains nothing that could be a secret: the route's pattern instead of the path, no
//! query, no body, and no headers except the ids that connect requests. Values that a client chose
//! are logged as fields, which a subscriber quotes, so a client cannot forge a line.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::middleware::Next;
use tracing::Instrument;

use super::principal::Principal;
use super::trace_context;

/// A longer id is not logged.
const MAX_CORRELATION_ID_BYTES: usize = 128;

/// Logs one line per request with the target `actum::requests`:
/// `App::new().wrap(from_fn(request_log))`, as the last middleware.
///
/// # Errors
/// Those of the request.
pub(super) async fn request_log<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let began = Instant::now();
    let method = request.method().clone();
    let route = request.match_pattern();
    let (correlation_id, trace_id) = ids(request.headers());
    let span = tracing::debug_span!(
        target: "actum::spans",
        "request",
        method = method.as_str(),
        route,
        correlation_id,
        trace_id,
    );
    let answer = next.call(request).instrument(span).await;
    // Known only now, because an inner middleware authenticates the request.
    let (status, principal) = match &answer {
        Ok(answer) => (answer.status(), Principal::of(answer.request())),
        Err(error) => (error.as_response_error().status_code(), None),
    };
    tracing::info!(
        target: "actum::requests",
        method = method.as_str(),
        route = route.as_deref(),
        status = status.as_u16(),
        ms = began.elapsed().as_secs_f64() * 1e3,
        principal = principal.as_ref().map(|principal| principal.id.as_str()),
        correlation_id,
        trace_id,
        "request"
    );
    answer
}

fn ids(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let correlation_id = headers.get("x-correlation-id").and_then(|id| id.to_str().ok());
    let correlation_id = correlation_id.filter(|id| id.len() <= MAX_CORRELATION_ID_BYTES);
    let parent = trace_context::of(headers).parent;
    let trace_id = parent.and_then(|parent| Some(parent.split('-').nth(1)?.to_owned()));
    (correlation_id.map(str::to_owned), trace_id)
}
