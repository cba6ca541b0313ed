//! Times in a query: dates, and RFC 3339 times with their zone.

use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{Date, OffsetDateTime, UtcOffset};

use super::problem::Problem;

/// Returns the time of the query parameter `name` in UTC; a date means its first moment.
///
/// A time must have a zone and be convertible to UTC, because a guessed time could select the wrong
/// day.
///
/// # Errors
/// 400 `invalid_query`: the text is neither a date nor a time with its zone.
pub fn moment(name: &str, text: Option<&str>) -> Result<Option<OffsetDateTime>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let moment = if text.len() == DATE.len() { date(text) } else { date_time(text) };
    let moment = moment.and_then(|time| time.checked_to_offset(UtcOffset::UTC));
    moment.map(Some).ok_or_else(|| {
        let detail = format!(
            "{name} is a date such as 2026-01-31 or an RFC 3339 time such as 2026-01-31T12:00:00Z; \
             write the + of a zone as %2B"
        );
        Problem::new(400, "invalid_query", detail)
    })
}

/// Patterns: a digit matches any digit.
const DATE: &str = "0000-00-00";
const DATE_TIME: &str = "0000-00-00T00:00:00";

fn date(text: &str) -> Option<OffsetDateTime> {
    let date = is_like(text, DATE).then(|| Date::parse(text, &Iso8601::DATE).ok())??;
    Some(date.midnight().assume_utc())
}

/// Parses RFC 3339. `time` alone would also take any character for the `T`, and a leap second,
/// which it turns into another second.
fn date_time(text: &str) -> Option<OffsetDateTime> {
    let is_shaped = is_like(text.get(..DATE_TIME.len())?, DATE_TIME);
    let second = text.get(DATE_TIME.len() - 2..DATE_TIME.len())?;
    (is_shaped && second < "60").then(|| OffsetDateTime::parse(text, &Rfc3339).ok())?
}

fn is_like(text: &str, shape: &str) -> bool {
    let fits = |(is, wanted): (u8, u8)| match wanted {
        b'0' => is.is_ascii_digit(),
        b'T' => is.eq_ignore_ascii_case(&b'T'),
        other => is == other,
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}
