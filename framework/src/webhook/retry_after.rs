//! Parser of the `Retry-After` header (RFC 9110, section 10.2.3): seconds, or a date.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// Returns the delay from now, or `None` if the value is not valid. A date in the past is a delay
/// of zero.
pub(super) fn parse(value: &str, now: OffsetDateTime) -> Option<Duration> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is larger than any limit of the caller.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    Some((date - now).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood_and_nothing_else() {
        let now = OffsetDateTime::from_unix_timestamp(784_111_777).unwrap();
        let after = |value| parse(value, now).map(|after| after.as_secs());
        assert_eq!(after("0"), Some(0));
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("99999999999999999999999"), Some(u64::MAX));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:36 GMT"), Some(0));
        for nothing in ["", " ", "-1", "+1", "1.5", "soon", "Sun, 06 Nov", "1994-11-06T08:50:37Z"] {
            assert_eq!(after(nothing), None, "{nothing:?}");
        }
    }
}
