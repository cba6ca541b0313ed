//! Conditional requests (RFC 9110): the `ETag` of an aggregate is its version.
//!
//! A read returns 412 if an `If-Match` does not name its version, and 304 if an `If-None-Match`
//! does. A command may expect one version, any existing aggregate, or none. A header that could
//! mean several versions is refused instead of guessed.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName};

use super::problem::{Problem, etag};
use crate::event::{ExpectedVersion, StreamVersion};

/// Returns the version that a command expects.
pub(super) fn of(headers: &HeaderMap) -> Result<ExpectedVersion, Problem> {
    match (one(headers, header::IF_MATCH)?, one(headers, header::IF_NONE_MATCH)?) {
        (None, None) => Ok(ExpectedVersion::Any),
        (Some("*"), None) => Ok(ExpectedVersion::StreamExists),
        (Some(tag), None) => match version(tag) {
            Some(version) => Ok(ExpectedVersion::Exact(version)),
            None => Err(invalid("If-Match of a command must be one ETag such as \"3\", or *")),
        },
        (None, Some("*")) => Ok(ExpectedVersion::NoStream),
        (None, Some(_)) => Err(invalid("If-None-Match of a command must be *")),
        (Some(_), Some(_)) => {
            Err(invalid("a command must not have both If-Match and If-None-Match"))
        }
    }
}

/// Returns a 412 problem if the response does not match the `If-Match` of a read. A weak tag never
/// matches (RFC 9110, section 13.1.1), and a response without an `ETag` matches only `*`.
pub(super) fn unmet<B>(wanted: &HeaderMap, answer: &HttpResponse<B>) -> Option<Problem> {
    let has_document = answer.status().is_success() || answer.status() == StatusCode::NOT_MODIFIED;
    let mut tags = wanted.get_all(header::IF_MATCH).peekable();
    tags.peek().filter(|_| has_document)?;
    let etag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let tags = tags.filter_map(|tags| tags.to_str().ok()).flat_map(|tags| tags.split(','));
    let holds = tags.map(str::trim).any(|tag| tag == "*" || Some(tag) == etag);
    (!holds).then(|| {
        let detail = "If-Match does not match the current version";
        let problem = Problem::new(412, "precondition_failed", detail);
        match etag {
            Some(etag) => problem.header(header::ETAG, etag),
            None => problem,
        }
    })
}

/// Checks that the client already has this version: one of its tags matches, weak or not.
pub(super) fn is_known(headers: &HeaderMap, version: StreamVersion) -> bool {
    let Some(etag) = etag(version) else { return false };
    let values = headers.get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Problem> {
    let mut given = headers.get_all(&name);
    let Some(value) = given.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| given.next().is_none());
    text.map(|text| Some(text.trim()))
        .ok_or_else(|| invalid(&format!("a command has one {name}, of ASCII")))
}

/// Parses a tag, only in the form that [`etag`] writes.
fn version(tag: &str) -> Option<StreamVersion> {
    let number = tag.strip_prefix('"')?.strip_suffix('"')?;
    let version = StreamVersion(number.parse().ok()?);
    (etag(version).as_deref() == Some(tag)).then_some(version)
}

fn invalid(detail: &str) -> Problem {
    Problem::new(400, "invalid_precondition", detail)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn headers(given: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn each_precondition_is_an_expected_version() {
        use ExpectedVersion::{Any, Exact, NoStream, StreamExists};
        let largest = "\"18446744073709551615\"";
        for (given, expected) in [
            (vec![], Any),
            (vec![(header::IF_MATCH, "*")], StreamExists),
            (vec![(header::IF_MATCH, "\"7\"")], Exact(StreamVersion(7))),
            (vec![(header::IF_MATCH, largest)], Exact(StreamVersion(u64::MAX))),
            (vec![(header::IF_NONE_MATCH, "*")], NoStream),
        ] {
            assert_eq!(of(&headers(&given)).unwrap(), expected, "{given:?}");
        }
    }

    #[test]
    fn what_is_no_version_or_could_be_several_is_refused() {
        let tags = [
            "",
            "7",
            "\"7",
            "W/\"7\"",
            "\"7\", \"8\"",
            "\"0\"",
            "\"007\"",
            "\"+7\"",
            "\"-7\"",
            "\"x\"",
            "\"\"",
            "\" 7\"",
            "\"7\" \"8\"",
            "\"18446744073709551616\"",
            "**",
        ];
        for tag in tags {
            let refused = of(&headers(&[(header::IF_MATCH, tag)])).unwrap_err();
            assert_eq!(refused.code(), "invalid_precondition", "{tag}");
        }
        for given in [
            vec![(header::IF_NONE_MATCH, "\"7\"")],
            vec![(header::IF_MATCH, "*"), (header::IF_NONE_MATCH, "*")],
            vec![(header::IF_MATCH, "\"7\""), (header::IF_MATCH, "\"7\"")],
        ] {
            assert_eq!(of(&headers(&given)).unwrap_err().code(), "invalid_precondition");
        }
    }

    #[test]
    fn a_client_has_a_version_that_is_among_its_tags() {
        for given in ["\"7\"", "W/\"7\"", "\"6\", \"7\"", "*"] {
            assert!(is_known(&headers(&[(header::IF_NONE_MATCH, given)]), StreamVersion(7)));
        }
        for given in ["\"6\"", "7", "", "\"77\""] {
            assert!(!is_known(&headers(&[(header::IF_NONE_MATCH, given)]), StreamVersion(7)));
        }
        assert!(!is_known(&headers(&[(header::IF_NONE_MATCH, "*")]), StreamVersion::ZERO));
    }
}
