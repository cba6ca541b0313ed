//! Problems of the operations: each with its status and the codes for programs.
//!
//! Which of them an operation can end with is derived from its method, its policy and its parameters.

use actix_web::http::Method;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{
    AllOfBuilder, Components, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response,
    ResponseBuilder, Schema,
};
use utoipa::{PartialSchema, ToSchema};

use super::{Policy, values};

/// Why something was not done (RFC 9457).
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `actum::web::Problem` writes")]
struct Problem {
    /// `about:blank`: the title is the status' own.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// For people.
    #[schema(min_length = 1, max_length = 500)]
    detail: String,
    /// For programs; never changes.
    code: String,
}

struct Known {
    name: &'static str,
    status: u16,
    description: &'static str,
    codes: &'static [&'static str],
    /// Whether it tells when to come again.
    retry_after: bool,
}

const fn known(
    name: &'static str,
    status: u16,
    description: &'static str,
    codes: &'static [&'static str],
) -> Known {
    Known { name, status, description, codes, retry_after: false }
}

const fn for_now(
    name: &'static str,
    status: u16,
    description: &'static str,
    codes: &'static [&'static str],
) -> Known {
    Known { name, status, description, codes, retry_after: true }
}

const MALFORMED: Known = known(
    "MalformedCommand",
    400,
    "The body, the query, the id or a header is not what it should be; nothing was done",
    &[
        "invalid_correlation_id",
        "invalid_id",
        "invalid_idempotency_key",
        "invalid_path",
        "invalid_precondition",
        "invalid_query",
        "malformed_body",
    ],
);

const CONFLICT: Known = known(
    "Conflict",
    409,
    "The number or name is somebody else's, others were faster again and again, or a request with \
     this `Idempotency-Key` is still under way; nothing was done by this one",
    &["account_number_taken", "conflict", "still_running", "user_name_taken"],
);

const NOT_EXPECTED: Known = known(
    "NotExpected",
    412,
    "The account is not as `If-Match` or `If-None-Match` expects; nothing was done",
    &["precondition_failed"],
);

const BODY_TOO_SLOW: Known =
    known("BodyTooSlow", 408, "The body took too long to arrive", &["body_too_slow"]);

const BODY_TOO_LARGE: Known =
    known("BodyTooLarge", 413, "A body has at most 64 KiB", &["body_too_large"]);

const NOT_JSON: Known = known(
    "NotJson",
    415,
    "The body does not say that it is JSON in UTF-8, or is packed",
    &["unsupported_media_type"],
);

const REFUSED: Known = known(
    "Refused",
    422,
    "The account or user refuses, or the key is another request's; nothing was done",
    &[
        "already_open",
        "already_registered",
        "balance_not_zero",
        "balance_too_large",
        "closed",
        "frozen",
        "idempotency_key_reused",
        "insufficient_funds",
        "invalid_amount",
        "invalid_currency",
        "invalid_limit",
        "invalid_name",
        "invalid_number",
        "invalid_owner",
        "limit_in_use",
        "no_callback",
    ],
);

const COMMAND_UNAVAILABLE: Known = for_now(
    "CommandUnavailable",
    503,
    "Not now. Nothing was done, but for `outcome_unknown`: then a repetition with the same \
     `Idempotency-Key` tells",
    &["outcome_unknown", "overloaded", "stopping", "unavailable"],
);

const INVALID_READ: Known = known(
    "InvalidRead",
    400,
    "The id, the query or `Last-Event-ID` is not what it should be",
    &["invalid_id", "invalid_last_event_id", "invalid_path", "invalid_query"],
);

const NOT_MATCHED: Known = known(
    "NotMatched",
    412,
    "No `If-Match` names the version that there is",
    &["precondition_failed"],
);

const READ_UNAVAILABLE: Known = Known {
    name: "ReadUnavailable",
    status: 503,
    description: "Not now; `parked` and `halted` need somebody's repair",
    codes: &[
        "halted",
        "lost",
        "no_live_stream",
        "overloaded",
        "parked",
        "stopping",
        "too_slow",
        "unavailable",
    ],
    retry_after: false,
};

const NOT_YET: Known = for_now(
    "NotYet",
    504,
    "The log was not read as far as asked in time; `wanted` and `reached` tell how far",
    &["not_yet"],
);

const UNKNOWN: Known =
    known("UnknownAccount", 404, "There is no such account", &["unknown_account"]);

const UNKNOWN_USER: Known = known("UnknownUser", 404, "There is no such user", &["unknown_user"]);

const UNKNOWN_COMMAND: Known =
    known("UnknownCommand", 404, "There is no such command", &["unknown_command"]);

const NO_CALLBACK: Known = known("NoCallback", 404, "No address is registered", &["no_callback"]);

const CALLBACKS_OFF: Known = known(
    "CallbacksOff",
    409,
    "This bank calls nobody back, or a request with this `Idempotency-Key` is still under way",
    &["callbacks_off", "conflict", "still_running"],
);

const FORBIDDEN_ADDRESS: Known = known(
    "ForbiddenAddress",
    422,
    "The address may not be called, or the key is another request's",
    &["forbidden_address", "idempotency_key_reused"],
);

const NOT_READY: Known =
    for_now("NotReady", 503, "Not yet, or not any more: send no work", &["not_ready"]);

const FAILED: Known = known(
    "Failed",
    500,
    "A mistake of the bank's, which its log tells of",
    &["failed", "internal"],
);

const UNAUTHENTICATED: Known =
    known("Unauthenticated", 401, "Nobody who is known asks", &["unauthenticated"]);

const FORBIDDEN: Known = known(
    "Forbidden",
    403,
    "The credential lacks the scope, the account would be somebody else's, or a bank in dev mode is \
     reached from another host or a page of another origin",
    &["forbidden"],
);

const TOO_MUCH: Known = for_now(
    "TooMuch",
    429,
    "More than whoever asks may; nothing was done",
    &["rate_limited", "too_many_connections", "too_many_open", "too_many_streams"],
);

/// Every problem that an operation can be described with.
const ALL: [&Known; 23] = [
    &MALFORMED,
    &CONFLICT,
    &NOT_EXPECTED,
    &BODY_TOO_SLOW,
    &BODY_TOO_LARGE,
    &NOT_JSON,
    &REFUSED,
    &COMMAND_UNAVAILABLE,
    &INVALID_READ,
    &NOT_MATCHED,
    &READ_UNAVAILABLE,
    &NOT_YET,
    &UNKNOWN,
    &UNKNOWN_USER,
    &UNKNOWN_COMMAND,
    &NO_CALLBACK,
    &CALLBACKS_OFF,
    &FORBIDDEN_ADDRESS,
    &NOT_READY,
    &FAILED,
    &UNAUTHENTICATED,
    &FORBIDDEN,
    &TOO_MUCH,
];

/// Adds the problems that an operation can end with, unless it describes a status itself. They follow
/// from its method, its policy and what it takes, so that no handler can forget one.
pub fn add(operation: &mut Operation, method: &Method, path: &str, policy: Policy) {
    let mut problems = special(method, path);
    match method.is_safe() {
        true => problems.extend(of_read(operation, policy)),
        false => problems.extend(of_command(operation)),
    }
    if policy.scope().is_some() {
        problems.push(&UNAUTHENTICATED);
    }
    problems.extend([&FORBIDDEN, &TOO_MUCH]);
    for problem in problems {
        let responses = &mut operation.responses.responses;
        responses
            .entry(problem.status.to_string())
            .or_insert_with(|| Ref::from_response_name(problem.name).into());
    }
}

/// Problems of one path, which come before those of its kind.
fn special(method: &Method, path: &str) -> Vec<&'static Known> {
    match (method, path) {
        (&Method::PUT, "/callback") => vec![&CALLBACKS_OFF, &FORBIDDEN_ADDRESS],
        (&Method::GET, "/callback") => vec![&NO_CALLBACK],
        (_, "/health/ready") => vec![&NOT_READY],
        _ if path.starts_with("/commands/") => vec![&UNKNOWN_COMMAND],
        _ if path.starts_with("/users/") => vec![&UNKNOWN_USER],
        _ if path.contains("{id}") => vec![&UNKNOWN],
        _ => vec![],
    }
}

fn of_command(operation: &Operation) -> Vec<&'static Known> {
    let mut problems = vec![
        &MALFORMED,
        &CONFLICT,
        &NOT_EXPECTED,
        &NOT_JSON,
        &REFUSED,
        &FAILED,
        &COMMAND_UNAVAILABLE,
    ];
    if operation.request_body.is_some() {
        problems.extend([&BODY_TOO_SLOW, &BODY_TOO_LARGE]);
    }
    problems
}

fn of_read(operation: &Operation, policy: Policy) -> Vec<&'static Known> {
    let mut problems = vec![&NOT_MATCHED];
    let parameters = operation.parameters.iter().flatten();
    let parameters = parameters.filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None, // nothing in the document refers to a parameter
    });
    let in_path_or_query = |parameter: &Parameter| {
        let place = &parameter.parameter_in;
        matches!(place, ParameterIn::Path | ParameterIn::Query)
    };
    if parameters.clone().any(in_path_or_query) {
        problems.push(&INVALID_READ);
    }
    // Only a read that names a position waits for it.
    let position = RefOr::T(Schema::Object(values::position()));
    if parameters.clone().any(|parameter| parameter.schema.as_ref() == Some(&position)) {
        problems.push(&NOT_YET);
    }
    if policy != Policy::Probe {
        problems.push(&FAILED);
    }
    if policy.scope().is_some() {
        problems.push(&READ_UNAVAILABLE);
    }
    problems
}

/// Describes all of them, once.
pub fn describe(components: &mut Components) {
    components.schemas.insert("Problem".to_owned(), Problem::schema());
    for problem in ALL {
        components.responses.insert(problem.name.to_owned(), response(problem).into());
    }
}

fn response(problem: &Known) -> Response {
    let told = any()
        .property("status", any().enum_values(Some([problem.status])))
        .property("code", any().enum_values(Some(problem.codes.iter().copied())));
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(told);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description(problem.description)
        .content("application/problem+json", content);
    if !problem.retry_after {
        return response.build();
    }
    let seconds = HeaderBuilder::new()
        .schema(Some(u32::schema()))
        .description(Some("Come again after so many seconds."));
    response.header("Retry-After", seconds.build()).build()
}

fn any() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue)
}
