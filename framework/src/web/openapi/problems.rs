//! Problems of the operations, each with its status and its codes for programs.
//!
//! The possible problems of an operation are derived from its method, its policy and its
//! parameters.

use actix_web::http::Method;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{
    AllOfBuilder, Components, ContentBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder,
    Schema,
};
use utoipa::{PartialSchema, ToSchema};

use super::responses::header;
use super::{Api, Described, values};
use crate::web::policy::Policy;
use crate::web::prefer::COMMANDS;

/// Reason why a request failed (RFC 9457).
#[derive(ToSchema)]
#[expect(dead_code, reason = "a problem has its members in a map, because it may have more")]
struct Problem {
    /// `about:blank`: the title is the status' own.
    r#type: String,
    /// Phrase of the status.
    title: String,
    /// The HTTP status.
    status: u16,
    /// Description for people.
    #[schema(min_length = 1, max_length = 500)]
    detail: String,
    /// Code for programs; never changes.
    code: String,
}

struct Known {
    name: &'static str,
    status: u16,
    description: &'static str,
    codes: &'static [&'static str],
    /// True if the response has a `Retry-After` header.
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
    "A value belongs to somebody else, others were faster again and again, or a request with this \
     `Idempotency-Key` is still under way; nothing was done by this one",
    &["conflict", "still_running"],
);

const NOT_EXPECTED: Known = known(
    "NotExpected",
    412,
    "It is not as `If-Match` or `If-None-Match` expects; nothing was done",
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
    "It is refused, or the key is another request's; nothing was done",
    &["idempotency_key_reused", "no_callback"],
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

const UNKNOWN_COMMAND: Known =
    known("UnknownCommand", 404, "There is no such command", &["unknown_command"]);

const NO_CALLBACK: Known = known("NoCallback", 404, "No address is registered", &["no_callback"]);

const CALLBACKS_OFF: Known = known(
    "CallbacksOff",
    409,
    "This server calls nobody back, or a request with this `Idempotency-Key` is still under way",
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
    "A mistake of the server's, which its log tells of",
    &["failed", "internal"],
);

const UNAUTHENTICATED: Known =
    known("Unauthenticated", 401, "Nobody who is known asks", &["unauthenticated"]);

const FORBIDDEN: Known = known(
    "Forbidden",
    403,
    "The credential lacks the scope, it would be somebody else's, or a server in dev mode is reached \
     from another host or a page of another origin",
    &["forbidden"],
);

const TOO_MUCH: Known = for_now(
    "TooMuch",
    429,
    "More than whoever asks may; nothing was done",
    &["rate_limited", "too_many_connections", "too_many_open", "too_many_streams"],
);

/// All problems of all operations.
const ALL: [&Known; 21] = [
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

/// Adds the possible problems of an operation, unless it describes a status itself. They are
/// derived from its method, its policy and its parameters, so no handler can forget one.
pub(super) fn add(
    operation: &mut Operation,
    method: &Method,
    path: &str,
    policy: Policy,
    api: &Api,
) {
    let mut problems = special(method, path);
    match method.is_safe() {
        true => problems.extend(of_read(operation, policy)),
        false => problems.extend(of_command(operation)),
    }
    if policy.needs_credential() {
        problems.push(&UNAUTHENTICATED);
    }
    problems.extend([&FORBIDDEN, &TOO_MUCH]);
    let problems = problems.iter().map(|problem| (problem.status, problem.name.to_owned()));
    let unknown = api.unknown(path).map(|name| (404, name));
    for (status, name) in problems.chain(unknown) {
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_string()).or_insert_with(|| Ref::from_response_name(name).into());
    }
}

impl Api {
    /// Name of the response that there is no such aggregate, if the path names one.
    fn unknown(&self, path: &str) -> Option<String> {
        let rest = |described: &&Described| path.strip_prefix(described.path).is_some();
        let described = self.aggregates.iter().find(rest)?;
        path.contains("{id}").then(|| described.unknown())
    }

    /// Codes that the application adds to those of a problem.
    fn more_codes(&self, problem: &Known) -> Vec<String> {
        if problem.name == CONFLICT.name {
            return self.taken.clone();
        }
        if problem.name != REFUSED.name {
            return Vec::new();
        }
        let elsewhere = |code: &String| {
            let is_own = self.aggregates.iter().any(|it| *code == it.unknown_code());
            is_own || FORBIDDEN.codes.contains(&code.as_str())
        };
        let refusals = self.aggregates.iter().flat_map(|described| &described.refusals);
        refusals.filter(|code| !elsewhere(code)).cloned().collect()
    }
}

impl Described {
    fn unknown_code(&self) -> String {
        format!("unknown_{}", self.aggregate_type)
    }

    /// `UnknownAccount` for `account`.
    fn unknown(&self) -> String {
        let words = self.aggregate_type.split(['_', '-']);
        let capital = |word: &str| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
        };
        format!("Unknown{}", words.filter_map(capital).collect::<String>())
    }
}

/// Problems of one path of the framework. They take precedence over those of its kind.
fn special(method: &Method, path: &str) -> Vec<&'static Known> {
    match (method, path) {
        (&Method::PUT, "/callback") => vec![&CALLBACKS_OFF, &FORBIDDEN_ADDRESS],
        (&Method::GET, "/callback") => vec![&NO_CALLBACK],
        (_, "/health/ready") => vec![&NOT_READY],
        _ if path.starts_with(COMMANDS) => vec![&UNKNOWN_COMMAND],
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
    if policy.needs_credential() {
        problems.push(&READ_UNAVAILABLE);
    }
    problems
}

/// Adds each problem to the components once.
pub(super) fn describe(components: &mut Components, api: &Api) {
    components.schemas.insert("Problem".to_owned(), Problem::schema());
    for problem in ALL {
        let mut codes = api.more_codes(problem);
        codes.extend(problem.codes.iter().map(|code| (*code).to_owned()));
        codes.sort_unstable();
        codes.dedup();
        let told = response(problem.status, problem.description, codes, problem.retry_after);
        components.responses.insert(problem.name.to_owned(), told.into());
    }
    for described in &api.aggregates {
        let told = format!("There is no such {}", described.aggregate_type);
        let unknown = response(404, &told, vec![described.unknown_code()], false);
        components.responses.insert(described.unknown(), unknown.into());
    }
}

fn response(status: u16, told: &str, codes: Vec<String>, retry_after: bool) -> Response {
    let schema = any()
        .property("status", any().enum_values(Some([status])))
        .property("code", any().enum_values(Some(codes)));
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(schema);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response =
        ResponseBuilder::new().description(told).content("application/problem+json", content);
    match retry_after {
        true => {
            let seconds = header::<u32>("Come again after so many seconds.");
            response.header("Retry-After", seconds).build()
        }
        false => response.build(),
    }
}

fn any() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue)
}
