//! What can go wrong: each problem with its status and the codes for programs.

use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{
    AllOfBuilder, Components, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, Response,
    ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::Policy;

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

const COMMAND: &[Known] = &[
    known(
        "MalformedCommand",
        400,
        "The body, the id or a header is not what it should be; nothing was done",
        &[
            "invalid_correlation_id",
            "invalid_id",
            "invalid_idempotency_key",
            "invalid_path",
            "invalid_precondition",
            "malformed_body",
        ],
    ),
    Known {
        name: "Conflict",
        status: 409,
        description: "The number or name is somebody else's, others were faster again and again, or \
                      a request with this `Idempotency-Key` is still under way; nothing was done \
                      by this one",
        codes: &["account_number_taken", "conflict", "still_running", "user_name_taken"],
        retry_after: false,
    },
    known(
        "NotExpected",
        412,
        "The account is not as `If-Match` or `If-None-Match` expects; nothing was done",
        &["precondition_failed"],
    ),
    known("BodyTooSlow", 408, "The body took too long to arrive", &["body_too_slow"]),
    known("BodyTooLarge", 413, "A body has at most 64 KiB", &["body_too_large"]),
    known(
        "NotJson",
        415,
        "The body does not say that it is JSON, or is packed",
        &["unsupported_media_type"],
    ),
    known(
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
    ),
    FAILED,
    for_now(
        "CommandUnavailable",
        503,
        "Not now. Nothing was done, but for `outcome_unknown`: then a repetition with the same \
         `Idempotency-Key` tells",
        &["outcome_unknown", "overloaded", "stopping", "unavailable"],
    ),
];

const READ: &[Known] = &[
    known(
        "InvalidRead",
        400,
        "The id or the query is not what it should be",
        &["invalid_id", "invalid_last_event_id", "invalid_path", "invalid_query"],
    ),
    FAILED,
    Known {
        name: "ReadUnavailable",
        status: 503,
        description: "Not now; `parked` and `halted` need somebody's repair",
        codes: &["halted", "lost", "overloaded", "parked", "stopping", "too_slow", "unavailable"],
        retry_after: false,
    },
    for_now(
        "NotYet",
        504,
        "The log was not read as far as asked in time; `wanted` and `reached` tell how far",
        &["not_yet"],
    ),
];

const UNKNOWN: Known =
    known("UnknownAccount", 404, "There is no such account", &["unknown_account"]);

const UNKNOWN_USER: Known = known("UnknownUser", 404, "There is no such user", &["unknown_user"]);

const UNKNOWN_COMMAND: Known =
    known("UnknownCommand", 404, "There is no such command", &["unknown_command"]);

/// Of an address to be called back at.
const CALLBACK: &[Known] = &[
    known("NoCallback", 404, "No address is registered", &["no_callback"]),
    Known {
        name: "CallbacksOff",
        status: 409,
        description: "This bank calls nobody back, or a request with this `Idempotency-Key` is \
                      still under way",
        codes: &["callbacks_off", "conflict", "still_running"],
        retry_after: false,
    },
    known(
        "ForbiddenAddress",
        422,
        "The address may not be called, or the key is another request's",
        &["forbidden_address", "idempotency_key_reused"],
    ),
];

const NOT_READY: Known =
    for_now("NotReady", 503, "Not yet, or not any more: send no work", &["not_ready"]);

const FAILED: Known =
    known("Failed", 500, "A mistake of the bank's, which its log tells of", &["internal"]);

const KNOWN_PRINCIPAL: &[Known] = &[
    known("Unauthenticated", 401, "Nobody who is known asks", &["unauthenticated"]),
    known(
        "Forbidden",
        403,
        "Who asks has not the scope for it, or would open an account for somebody else",
        &["forbidden"],
    ),
];

/// Whatever is asked for.
const TOO_MUCH: Known = for_now(
    "TooMuch",
    429,
    "More than whoever asks may; nothing was done",
    &["rate_limited", "too_many_connections", "too_many_streams"],
);

/// Adds what can go wrong to an operation, unless it says more about a status itself.
pub fn add(operation: &mut Operation, path: &str, policy: Policy) {
    let input: &[Known] = match policy {
        Policy::Write => COMMAND,
        Policy::Read => READ,
        Policy::Public | Policy::Operate => &[],
    };
    let first: &[Known] = match path {
        "/callback" => CALLBACK,
        "/health/ready" => &[NOT_READY],
        _ if path.starts_with("/commands/") => &[UNKNOWN_COMMAND],
        _ if path.starts_with("/users/") => &[UNKNOWN_USER],
        _ if path.contains("{id}") => &[UNKNOWN],
        _ => &[],
    };
    let principal = if policy == Policy::Public { &[] } else { KNOWN_PRINCIPAL };
    for problem in first.iter().chain(input).chain(principal).chain([&TOO_MUCH]) {
        let responses = &mut operation.responses.responses;
        responses
            .entry(problem.status.to_string())
            .or_insert_with(|| Ref::from_response_name(problem.name).into());
    }
}

/// Describes all of them, once.
pub fn describe(components: &mut Components) {
    components.schemas.insert("Problem".to_owned(), Problem::schema());
    let all = COMMAND.iter().chain(READ).chain(CALLBACK).chain(KNOWN_PRINCIPAL);
    let unknown = [&UNKNOWN, &UNKNOWN_USER, &UNKNOWN_COMMAND];
    for problem in all.chain(unknown).chain([&NOT_READY, &TOO_MUCH]) {
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
