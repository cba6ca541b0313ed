//! Schemas of single values, exactly as they are checked where they are used.

use utoipa::openapi::schema::{AnyOfBuilder, SchemaFormat};
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, Schema, Type};

use crate::account::{HIDDEN, MAX_OWNER_CHARS};

/// Schema of an owner's name, as the account accepts it.
pub fn owner() -> Object {
    visible()
}

fn visible() -> Object {
    // Escapes of more than four digits differ between regular expression dialects, so those
    // characters are written as they are.
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

/// Schema of a currency, as the account accepts it.
pub fn currency() -> Object {
    text().pattern(Some("^[A-Z]{3}$")).description(Some("Such as `EUR`.")).build()
}

/// Schema of an account number, as the account accepts it. A pattern cannot check its check digits.
pub fn account_number() -> Object {
    let told = "Like an IBAN, with the right check digits; no other account has it. Blanks and small \
                letters are as good as none and capital ones.";
    let number = text().pattern(Some("^ *([A-Za-z] *){2}([0-9] *){2}([A-Za-z0-9] *){11,30}$"));
    number.description(Some(told)).examples(["DE89 3704 0044 0532 0130 00"]).build()
}

/// The id of an account that exists. Any text is accepted, and an account that does not exist fails the
/// transfer.
pub fn account_id() -> Object {
    text().description(Some("The id of an account.")).build()
}

/// Schema of the reference of a transfer, as the transfer accepts it.
pub fn reference() -> Object {
    visible()
}

/// A user's name.
pub fn user_name() -> Object {
    let told = "No other user has it.";
    text().pattern(Some("^[a-z][a-z0-9_.-]{2,31}$")).description(Some(told)).build()
}

/// An amount of money.
pub fn amount() -> Object {
    integer(1, i64::MAX as u64, "In the currency's minor unit, such as cents.")
}

/// A day of the month.
pub fn day() -> Object {
    integer(1, 31, "Day of the month. A month without this day has its last day instead.")
}

/// A credit limit.
pub fn limit() -> Object {
    integer(0, i64::MAX as u64, "In the currency's minor unit, such as cents.")
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
