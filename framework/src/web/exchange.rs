//! HTTP rules for every route of a table, applied around its handler.
//!
//! Before the handler: a compressed body is refused, and so is the query of a request that is not
//! safe, because no handler would read them. After the handler: an `If-Match` that does not match
//! turns the response into a 412, and a response to `HEAD` loses its body. Commands check their
//! `If-Match` in the log instead.

use actix_web::ResponseError;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::Next;

use super::head::without_body;
use super::precondition;
use super::problem::Problem;

/// Processes one request with its handler and the rules around it.
pub(super) async fn exchange(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let method = request.method().clone();
    if !method.is_safe()
        && let Err(problem) = refuse_unread(&request)
    {
        return Ok(request.into_response(problem.error_response()));
    }
    let mut answer = next.call(request).await?;
    if method.is_safe()
        && let Some(problem) = precondition::unmet(answer.request().headers(), answer.response())
    {
        answer = answer.into_response(problem.error_response());
    }
    Ok(if method == Method::HEAD { without_body(answer) } else { answer })
}

/// Refuses the parts of a request that a handler would ignore.
fn refuse_unread(request: &ServiceRequest) -> Result<(), Problem> {
    if !request.query_string().is_empty() {
        let detail = "query parameters are not allowed here: use the body and the headers";
        return Err(Problem::new(400, "invalid_query", detail));
    }
    // After decompression, a body could be a thousand times larger than what was sent.
    let mut codings = request.headers().get_all(header::CONTENT_ENCODING);
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let detail = "compressed bodies are not supported: send no Content-Encoding";
        let problem = Problem::new(415, "unsupported_media_type", detail);
        return Err(problem.header(header::ACCEPT_ENCODING, "identity"));
    }
    Ok(())
}
