//! W3C Trace Context: the valid values of `traceparent` and `tracestate`.
//!
//! As the specification requires, an invalid `traceparent` is ignored together with its
//! `tracestate`, and an invalid `tracestate` is ignored alone. No request fails because of them.

use actix_web::http::header::HeaderMap;

/// Trace context of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TraceContext {
    /// Parent in the format of version 00, the only version that this program can propagate.
    pub(super) parent: Option<String>,
    pub(super) state: Option<String>,
}

const MAX_STATE_MEMBERS: usize = 32;
/// Longer ones need not be propagated.
const MAX_STATE_BYTES: usize = 512;

pub(super) fn of(headers: &HeaderMap) -> TraceContext {
    let mut given = headers.get_all("traceparent");
    let parent = match (given.next(), given.next()) {
        (Some(value), None) => value.to_str().ok().and_then(parent),
        _ => None,
    };
    let state = parent.is_some().then(|| state(headers)).flatten();
    TraceContext { parent, state }
}

/// Parses `00-<trace id>-<parent id>-<flags>`. Later versions may add parts.
fn parent(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let version = hex(parts.next()?, 2)?;
    let (trace, span, flags) =
        (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
    let has_more = parts.next().is_some();
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    if version == "ff" || is_zero(trace) || is_zero(span) || (version == "00" && has_more) {
        return None;
    }
    let flags = match version {
        "00" => flags.to_owned(),
        // The flags of another version are unknown, except for the sampled flag.
        _ => format!("{:02x}", u8::from_str_radix(flags, 16).ok()? & 1),
    };
    Some(format!("00-{trace}-{span}-{flags}"))
}

/// Returns the text if it consists of this many lowercase hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<&str> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(is_hex)).then_some(text)
}

fn state(headers: &HeaderMap) -> Option<String> {
    let mut members = Vec::new();
    for value in headers.get_all("tracestate") {
        let list = value.to_str().ok()?.split(',').map(|member| member.trim_matches([' ', '\t']));
        members.extend(list.filter(|member| !member.is_empty()));
    }
    let state = members.join(",");
    let fits = members.len() <= MAX_STATE_MEMBERS && state.len() <= MAX_STATE_BYTES;
    let is_valid = fits && !state.is_empty() && members.iter().all(|member| is_member(member));
    is_valid.then_some(state)
}

/// Checks a member `key=value`.
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let in_key =
        |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let key_fits = (1..=256).contains(&key.len()) && key.bytes().all(in_key);
    let begins_well =
        key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let in_value = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b'=';
    let value_fits = (1..=256).contains(&value.len()) && value.bytes().all(in_value);
    key_fits && begins_well && key.matches('@').count() <= 1 && value_fits
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(parents: &[&str], states: &[&str]) -> TraceContext {
        let mut headers = HeaderMap::new();
        for (name, values) in [("traceparent", parents), ("tracestate", states)] {
            for value in values {
                let value = HeaderValue::from_str(value).unwrap();
                headers.append(HeaderName::from_static(name), value);
            }
        }
        of(&headers)
    }

    #[test]
    fn a_valid_parent_is_kept_and_one_of_a_later_version_is_written_as_00() {
        assert_eq!(context(&[PARENT], &[]).parent.as_deref(), Some(PARENT));
        let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        assert_eq!(context(&[unsampled], &[]).parent.as_deref(), Some(unsampled));
        for later in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-09-what-else",
        ] {
            assert_eq!(context(&[later], &[]).parent.as_deref(), Some(PARENT), "{later}");
        }
    }

    #[test]
    fn an_invalid_parent_is_ignored_with_its_state() {
        let upper = PARENT.to_uppercase();
        for invalid in [
            "",
            "00",
            &PARENT[1..],
            &format!("{PARENT}-more"),
            &format!("{PARENT} "),
            &upper,
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        ] {
            assert_eq!(context(&[invalid], &["a=1"]), TraceContext::default(), "{invalid:?}");
        }
        assert_eq!(context(&[PARENT, PARENT], &["a=1"]), TraceContext::default());
        assert_eq!(context(&[], &["a=1"]), TraceContext::default());
    }

    #[test]
    fn a_state_is_kept_whole_or_not_at_all() {
        let state = |states: &[&str]| {
            let found = context(&[PARENT], states);
            assert_eq!(found.parent.as_deref(), Some(PARENT));
            found.state
        };
        assert_eq!(state(&["a=1, b@c=x y,,", "0/*-_=z"]).as_deref(), Some("a=1,b@c=x y,0/*-_=z"));
        let many = (0..33).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        let long = format!("k={}", "x".repeat(257));
        for invalid in ["", ",", "a", "a=", "=1", "A=1", "a=1=2", "a@b@c=1", "@a=1", &many, &long] {
            assert_eq!(state(&[invalid]), None, "{invalid}");
        }
        assert_eq!(state(&["a=1", "B=2"]), None);
    }
}
