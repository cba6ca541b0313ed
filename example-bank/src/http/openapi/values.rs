//! What single values look like, exactly as they are checked where they are used.

use actum::MAX_ID_BYTES;
use actum::web::MAX_IDEMPOTENCY_KEY_BYTES;
use utoipa::openapi::schema::{AnyOfBuilder, SchemaFormat, SchemaType};
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, Schema, Type};

use crate::account::{HIDDEN, MAX_OWNER_CHARS};

/// An id, as `StreamId` takes it.
pub fn id() -> Object {
    an_id().schema_type(Type::String).build()
}

/// An id of a command.
pub fn command_id() -> Object {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))).build()
}

/// How a command is answered.
pub fn prefer() -> Object {
    let told = "`respond-async` to be answered later; with `callback` to be called back then. What \
                is not understood is ignored.";
    text().description(Some(told)).examples(["respond-async", "respond-async, callback"]).build()
}

/// An id, or none.
pub fn made_up_id() -> Object {
    let types = SchemaType::from_iter([Type::String, Type::Null]);
    an_id().schema_type(types).description(Some("The bank makes one up if there is none.")).build()
}

fn an_id() -> ObjectBuilder {
    let id = ObjectBuilder::new().pattern(Some(r"^(?!\.\.?$)[A-Za-z0-9_.:@+~-]+$"));
    id.max_length(Some(MAX_ID_BYTES)).description(Some("The id of an account."))
}

/// An owner's name, as the account takes it.
pub fn owner() -> Object {
    // Beyond four digits the escapes of regular expressions differ, so there the character stands.
    let written = |c: char| match u32::from(c) {
        short @ 0..=0xffff => format!(r"\u{short:04x}"),
        _ => c.to_string(),
    };
    let range = |(first, last): &(char, char)| format!("{}-{}", written(*first), written(*last));
    let hidden: String = HIDDEN.iter().map(range).collect();
    const BLANK: &str = r"\u0020\u00a0\u1680\u2000-\u200a\u200c\u200d\u202f\u205f\u3000\ufe0f";
    let owner = text().pattern(Some(format!("^[^{hidden}]*[^{hidden}{BLANK}][^{hidden}]*$")));
    let told = "Visible characters, without control or direction marks.";
    owner.max_length(Some(MAX_OWNER_CHARS)).description(Some(told)).build()
}

/// A currency, as the account takes it.
pub fn currency() -> Object {
    text().pattern(Some("^[A-Z]{3}$")).description(Some("Such as `EUR`.")).build()
}

/// An account's number, as the account takes it; its check digits are beyond a pattern.
pub fn account_number() -> Object {
    let told = "Like an IBAN, with the right check digits; no other account has it. Blanks and small \
                letters are as good as none and capital ones.";
    let number = text().pattern(Some("^ *([A-Za-z] *){2}([0-9] *){2}([A-Za-z0-9] *){11,30}$"));
    number.description(Some(told)).examples(["DE89 3704 0044 0532 0130 00"]).build()
}

/// A user's name.
pub fn user_name() -> Object {
    let told = "No other user has it.";
    text().pattern(Some("^[a-z][a-z0-9_.-]{2,31}$")).description(Some(told)).build()
}

/// A client's name for a request.
pub fn key() -> Object {
    printable(
        "The client's name for this request: sent again with the same key, it is answered as the \
         first time and not done again.",
    )
}

/// What the client calls all that belongs together.
pub fn correlation_id() -> Object {
    printable("The client's name for all that belongs together; it is kept beside the events.")
}

fn printable(told: &str) -> Object {
    let text = text().pattern(Some("^[!-~]([ -~]*[!-~])?$")).description(Some(told));
    text.min_length(Some(1)).max_length(Some(MAX_IDEMPOTENCY_KEY_BYTES)).build()
}

/// The version that a command expects.
pub fn if_match() -> Schema {
    let told = "Do it only at this version of the account, an `ETag` as it was given; `*`: only if \
                there is such an account. Not together with `If-None-Match`.";
    let tag = text().pattern(Some(r#"^"[1-9][0-9]{0,18}"$"#)).examples(["\"3\""]);
    let any = text().enum_values(Some(["*"]));
    AnyOfBuilder::new().item(any).item(tag).description(Some(told)).into()
}

/// That a command expects no version.
pub fn if_none_match() -> Object {
    let told = "Do it only if there is no such account yet. Not together with `If-Match`.";
    text().enum_values(Some(["*"])).description(Some(told)).build()
}

/// The version that a reader has.
pub fn known_version() -> Object {
    let told = "Answer 304 if the account is still at this version, an `ETag` as it was given; what \
                is none is ignored.";
    text().examples(["\"3\""]).description(Some(told)).build()
}

/// Where a request belongs in a trace.
pub fn trace_context() -> Object {
    let told = "W3C Trace Context, kept beside the events; ignored if it is not valid.";
    text().description(Some(told)).build()
}

/// An amount of money.
pub fn amount() -> Object {
    integer(1, i64::MAX as u64, "In the currency's minor unit, such as cents.")
}

/// A credit limit.
pub fn limit() -> Object {
    integer(0, i64::MAX as u64, "In the currency's minor unit, such as cents.")
}

/// A version of an account.
pub fn version() -> Object {
    integer(0, u64::MAX, "Continue after this version of the account.")
}

/// A position in the log.
pub fn position() -> Object {
    let told = "Answer only what reflects the log up to this position, such as a command answers.";
    integer(0, u64::MAX, told)
}

/// How long to wait.
pub fn wait() -> Object {
    let told =
        "Wait for `after` so many milliseconds, and no longer than the bank does: 5 seconds.";
    integer(1, u64::MAX, told)
}

/// A time, or the first moment of a date.
pub fn moment() -> Schema {
    let known = |format| text().format(Some(SchemaFormat::KnownFormat(format)));
    let told =
        "A time, or a date whose first moment in UTC is meant; `from` is included, `to` not.";
    let moment = AnyOfBuilder::new().item(known(KnownFormat::Date));
    moment.item(known(KnownFormat::DateTime)).description(Some(told)).into()
}

/// An account's status, once it has one.
pub fn account_status() -> Object {
    text().enum_values(Some(["open", "frozen", "closed"])).build()
}

fn integer(minimum: u64, maximum: u64, told: &str) -> Object {
    let integer = ObjectBuilder::new().schema_type(Type::Integer).description(Some(told));
    integer.minimum(Some(minimum)).maximum(Some(maximum)).build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
