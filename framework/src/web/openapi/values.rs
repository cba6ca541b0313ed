//! Schemas of single values, exactly as they are checked where they are used.

use utoipa::openapi::schema::{AnyOfBuilder, SchemaFormat, SchemaType};
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, Schema, Type};

use crate::event::MAX_ID_BYTES;
use crate::web::command_headers::MAX_IDEMPOTENCY_KEY_BYTES;

/// An id, as `StreamId` takes it.
pub(super) fn id() -> Object {
    an_id().schema_type(Type::String).build()
}

/// An id of a command.
pub(super) fn command_id() -> Object {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))).build()
}

/// Preference for the response of a command.
pub(super) fn prefer() -> Object {
    let told = "`respond-async` to be answered later; with `callback` to be called back then. What \
                is not understood is ignored.";
    text().description(Some(told)).examples(["respond-async", "respond-async, callback"]).build()
}

/// The id of a new aggregate in the body of a command: an id, or none.
pub fn new_id() -> Object {
    let types = SchemaType::from_iter([Type::String, Type::Null]);
    an_id()
        .schema_type(types)
        .description(Some("The server makes one up if there is none."))
        .build()
}

fn an_id() -> ObjectBuilder {
    let id = ObjectBuilder::new().pattern(Some(r"^(?!\.\.?$)[A-Za-z0-9_.:@+~-]+$"));
    id.max_length(Some(MAX_ID_BYTES)).description(Some("Letters, digits and `_.:@+~-`."))
}

/// A client's name for a request.
pub(super) fn key() -> Object {
    printable(
        "The client's name for this request: sent again with the same key, it is answered as the \
         first time and not done again.",
    )
}

/// Client's name for a group of related requests.
pub(super) fn correlation_id() -> Object {
    printable("The client's name for all that belongs together; it is kept beside the events.")
}

fn printable(told: &str) -> Object {
    let text = text().pattern(Some("^[!-~]([ -~]*[!-~])?$")).description(Some(told));
    text.min_length(Some(1)).max_length(Some(MAX_IDEMPOTENCY_KEY_BYTES)).build()
}

/// The version that a command expects.
pub(super) fn if_match() -> Schema {
    let told = "Do it only at this version, an `ETag` as it was given; `*`: only if it exists. Not \
                together with `If-None-Match`.";
    let tag = text().pattern(Some(r#"^"[1-9][0-9]{0,18}"$"#)).examples(["\"3\""]);
    let any = text().enum_values(Some(["*"]));
    AnyOfBuilder::new().item(any).item(tag).description(Some(told)).into()
}

/// Precondition that nothing exists yet.
pub(super) fn if_none_match() -> Object {
    let told = "Do it only if it does not exist yet. Not together with `If-Match`.";
    text().enum_values(Some(["*"])).description(Some(told)).build()
}

/// The version that a reader has.
pub(super) fn known_version() -> Object {
    let told = "Answer 304 if it is still at this version, an `ETag` as it was given; what is none \
                is ignored.";
    text().examples(["\"3\""]).description(Some(told)).build()
}

/// Place of a request in a trace.
pub(super) fn trace_context() -> Object {
    let told = "W3C Trace Context, kept beside the events; ignored if it is not valid.";
    text().description(Some(told)).build()
}

/// A version of an aggregate: in a query that goes on after it.
pub fn version() -> Object {
    integer(0, u64::MAX, "Continue after this version.")
}

/// A position in the log: in a query that waits for it.
pub fn position() -> Object {
    let told = "Answer only what reflects the log up to this position, such as a command answers.";
    integer(0, u64::MAX, told)
}

/// Maximum time to wait.
pub(super) fn wait() -> Object {
    let told =
        "Wait for `after` so many milliseconds, and no longer than the server does: 5 seconds.";
    integer(1, u64::MAX, told)
}

fn integer(minimum: u64, maximum: u64, told: &str) -> Object {
    let integer = ObjectBuilder::new().schema_type(Type::Integer).description(Some(told));
    integer.minimum(Some(minimum)).maximum(Some(maximum)).build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
