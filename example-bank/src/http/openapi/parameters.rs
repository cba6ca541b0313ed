//! What a request carries besides its body: the account's id, headers, how fresh an answer must be.

use utoipa::IntoParams;

use super::values;

/// The account in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes a part of the path")]
pub struct AccountId {
    /// The account's id.
    #[param(schema_with = values::id)]
    id: String,
}

/// The user in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes a part of the path")]
pub struct UserId {
    /// The user's id.
    #[param(schema_with = values::id)]
    id: String,
}

/// What every command may carry.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes headers")]
pub struct InItsHeaders {
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

/// How fresh an answer must be.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes a query")]
pub struct AsFreshAs {
    /// Answer only what reflects the log up to this position, such as a command answered it.
    #[param(schema_with = values::position)]
    after: Option<u64>,
    /// Wait for it no longer than so many milliseconds; the bank itself waits for 5 seconds.
    #[param(schema_with = values::wait)]
    within: Option<u64>,
}

/// Which version need not be told again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a header")]
pub struct UnlessKnown {
    #[param(rename = "If-None-Match", schema_with = values::known_version, required = false)]
    if_none_match: String,
}

/// Where a stream of events goes on.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes a query")]
pub struct ResumeQuery {
    #[param(schema_with = values::version)]
    after: Option<u64>,
}

/// Where a stream of events goes on, before what the query says.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a header")]
pub struct ResumeHeaders {
    #[param(rename = "Last-Event-ID", schema_with = values::version)]
    last_event_id: Option<u64>,
}
