//! Parameters of requests: the aggregate's id, headers, and the required freshness.
//!
//! The extractors have other fields than the headers they read, so a struct of its own describes
//! each of them here.

use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::values;
use crate::web::command_headers::CommandHeaders;
use crate::web::freshness::Freshness;
use crate::web::resume::ResumeAfter;

/// The aggregate's id, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes a part of the path")]
pub struct AggregateId {
    /// The id.
    #[param(schema_with = values::id)]
    id: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes headers")]
struct OfCommand {
    #[param(rename = "Idempotency-Key", schema_with = values::key, required = false)]
    idempotency_key: String,
    #[param(rename = "If-Match", schema_with = values::if_match, required = false)]
    if_match: String,
    #[param(rename = "If-None-Match", schema_with = values::if_none_match, required = false)]
    if_none_match: String,
    #[param(rename = "Prefer", schema_with = values::prefer, required = false)]
    prefer: String,
    #[param(rename = "X-Correlation-Id", schema_with = values::correlation_id, required = false)]
    correlation_id: String,
    #[param(schema_with = values::trace_context, required = false)]
    traceparent: String,
    #[param(schema_with = values::trace_context, required = false)]
    tracestate: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes a query")]
struct AsFreshAs {
    /// Return only a state that reflects the log up to this position, such as the position of a
    /// command.
    #[param(schema_with = values::position)]
    after: Option<u64>,
    /// Maximum wait in milliseconds. The server waits for 5 seconds at most.
    #[param(schema_with = values::wait)]
    within: Option<u64>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a header")]
struct UnlessKnown {
    #[param(rename = "If-None-Match", schema_with = values::known_version, required = false)]
    if_none_match: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes a query")]
struct ResumeQuery {
    #[param(schema_with = values::version)]
    after: Option<u64>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a header")]
struct ResumeHeader {
    #[param(rename = "Last-Event-ID", schema_with = values::version)]
    last_event_id: Option<u64>,
}

impl IntoParams for CommandHeaders {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        OfCommand::into_params(place)
    }
}

/// Includes `If-None-Match`, because the response is a `DocumentAnswer`, which the client may have
/// already.
impl IntoParams for Freshness {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        [AsFreshAs::into_params(&place), UnlessKnown::into_params(&place)].concat()
    }
}

impl IntoParams for ResumeAfter {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        [ResumeQuery::into_params(&place), ResumeHeader::into_params(&place)].concat()
    }
}
