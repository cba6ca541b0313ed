//! Security headers of every response: no MIME sniffing, no caching, no framing, no referrer.
//!
//! A header that a response already has is kept, for example the policy of a documentation page.

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;

use super::http1::OverTls;

const ALWAYS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Responses are private and describe one moment.
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
];
/// Only sent over TLS, because browsers ignore it otherwise.
const SECURE: (HeaderName, &str) = (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");

/// Adds the security headers to every response, including errors:
/// `App::new().wrap(from_fn(security_headers))`, as the last middleware. No CORS header is sent, so
/// other origins have no access.
///
/// # Errors
/// Those of the request, with the headers added.
pub(super) async fn security_headers<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_secure = request.app_config().secure() || request.conn_data::<OverTls>().is_some();
    match next.call(request).await {
        Ok(mut answer) => {
            protect(answer.headers_mut(), is_secure);
            Ok(answer.map_into_boxed_body())
        }
        Err(error) => {
            let mut response = error.error_response();
            protect(response.headers_mut(), is_secure);
            Err(InternalError::from_response(error, response).into())
        }
    }
}

fn protect(headers: &mut HeaderMap, is_secure: bool) {
    let secure = is_secure.then_some(SECURE);
    for (name, value) in ALWAYS.into_iter().chain(secure) {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
