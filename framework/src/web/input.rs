//! Problem documents for invalid input: bodies, queries, paths and methods.
//!
//! This configures actix's own extractors; [`JsonBody`](super::body::JsonBody) needs no
//! configuration.

use actix_web::HttpRequest;
use actix_web::error::JsonPayloadError;
use actix_web::web::{self, JsonConfig, PathConfig, PayloadConfig, QueryConfig, ServiceConfig};

use super::problem::Problem;

/// Maximum size of a JSON body in bytes. A larger one is not read to its end.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Configures all extractors, and paths without a route, to return a [`Problem`].
pub(super) fn strict_input(config: &mut ServiceConfig) {
    // The errors of actix's extractors are not problem documents by default.
    config
        .app_data(JsonConfig::default().limit(MAX_BODY_BYTES).error_handler(refuse_body))
        .app_data(PayloadConfig::new(MAX_BODY_BYTES))
        .app_data(
            QueryConfig::default().error_handler(|error, _| {
                Problem::new(400, "invalid_query", error.to_string()).into()
            }),
        )
        .app_data(
            PathConfig::default().error_handler(|error, _| {
                Problem::new(400, "invalid_path", error.to_string()).into()
            }),
        )
        .default_service(web::to(async || Problem::no_such_path()));
}

fn refuse_body(error: JsonPayloadError, _: &HttpRequest) -> actix_web::Error {
    let problem = match &error {
        JsonPayloadError::ContentType => Problem::new(
            415,
            "unsupported_media_type",
            "the body must be JSON in UTF-8 with Content-Type: application/json",
        ),
        JsonPayloadError::OverflowKnownLength { .. } | JsonPayloadError::Overflow { .. } => {
            Problem::body_too_large()
        }
        JsonPayloadError::Deserialize(error) => {
            Problem::new(400, "malformed_body", error.to_string())
        }
        _ => Problem::unreadable_body(),
    };
    problem.into()
}

impl Problem {
    pub(super) fn no_such_path() -> Self {
        Self::new(404, "no_such_path", "no resource has this path")
    }

    pub(super) fn body_too_large() -> Self {
        Self::new(413, "body_too_large", format!("a body has at most {MAX_BODY_BYTES} bytes"))
    }

    pub(super) fn unreadable_body() -> Self {
        Self::new(400, "malformed_body", "the body could not be read")
    }
}
