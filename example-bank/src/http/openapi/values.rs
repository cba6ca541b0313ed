//! What single values look like, exactly as they are checked where they are used.

use actum::{MAX_COMMAND_ID_BYTES, MAX_ID_BYTES};
use utoipa::openapi::schema::{AnyOfBuilder, SchemaFormat, SchemaType};
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, Schema, Type};

use crate::account::MAX_OWNER_CHARS;

/// An id, as `StreamId` takes it.
pub fn id() -> Object {
    an_id().schema_type(Type::String).build()
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
    const ANY: &str = r"[^\u0000-\u001f\u007f-\u009f]*";
    const INK: &str =
        r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";
    let owner = text().pattern(Some(format!("^{ANY}{INK}{ANY}$")));
    let told = "Not blank, and without control characters.";
    owner.max_length(Some(MAX_OWNER_CHARS)).description(Some(told)).build()
}

/// A client's name for a request.
pub fn key() -> Object {
    let key = text().pattern(Some("^[!-~]([ -~]*[!-~])?$")).max_length(Some(MAX_COMMAND_ID_BYTES));
    let told = "The client's name for this request: sent again with the same key, it is answered \
                as the first time and not done again.";
    key.description(Some(told)).build()
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
