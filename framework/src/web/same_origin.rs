//! Protection of development mode against requests that a foreign web page makes a browser send.
//!
//! Without credentials the server trusts every client that reaches it. A page in a browser on this
//! machine can reach it by a form or `fetch` from another origin, or by a name that resolves to
//! 127.0.0.1 (DNS rebinding). A browser cannot hide either: it sends the name as `Host`, and the
//! page's origin as `Origin` and `Sec-Fetch-Site`. With credentials this check is not needed,
//! because a browser does not add a bearer credential automatically.

use std::net::IpAddr;

use actix_web::dev::RequestHead;
use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use actix_web::http::uri::Authority;

use super::problem::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks that the request names this machine and was not caused by a page of another origin.
///
/// # Errors
/// 403 `forbidden`.
pub(super) fn check(request: &RequestHead) -> Result<(), Problem> {
    let headers = request.headers();
    let hosts = texts(headers, HOST).chain(request.uri.authority().map(|it| Some(it.as_str())));
    let hosts: Vec<Option<Authority>> = hosts.map(|host| host?.parse().ok()).collect();
    if !hosts.iter().all(|host| host.as_ref().is_some_and(|host| is_loopback(host.host()))) {
        return Err(refused("a Host is localhost or a loopback address"));
    }
    let host = hosts.first().and_then(Option::as_ref);
    let is_own = |origin: Option<&str>| {
        let (_, authority) = origin?.split_once("://")?;
        Some(authority.parse::<Authority>().ok()? == *host?)
    };
    if !texts(headers, ORIGIN).all(|origin| is_own(origin) == Some(true)) {
        return Err(refused("an Origin is the one of this address"));
    }
    // `none` means that a person typed the address.
    let is_here = |site: Option<&str>| matches!(site, Some("same-origin" | "none"));
    match texts(headers, SEC_FETCH_SITE).all(is_here) {
        true => Ok(()),
        false => Err(refused("a request of a page comes from a page of this address")),
    }
}

fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Option<&str>> {
    headers.get_all(name).map(|value| value.to_str().ok())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_local = address.is_ok_and(|address| address.to_canonical().is_loopback());
    is_local || host.eq_ignore_ascii_case("localhost")
}

fn refused(rule: &str) -> Problem {
    let detail = format!("in dev mode {rule}: start the server with credentials to allow others");
    Problem::new(403, "forbidden", detail)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn is_allowed(uri: &str, headers: &[(&str, &str)]) -> bool {
        let request = TestRequest::post().uri(uri);
        let request =
            headers.iter().fold(request, |request, header| request.append_header(*header));
        check(request.to_http_request().head()).is_ok()
    }

    #[test]
    fn only_this_machine_is_a_host_however_it_is_written() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.1.2.3:1",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(is_allowed("/", &[("host", host)]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "192.0.2.1",
            "0.0.0.0:8080",
            "[::]:80",
            "",
            "localhost, evil.example",
        ] {
            assert!(!is_allowed("/", &[("host", host)]), "{host}");
        }
        assert!(!is_allowed("/", &[("host", "localhost"), ("host", "evil.example")]));
        assert!(!is_allowed("http://evil.example/", &[("host", "localhost")]));
        assert!(is_allowed("/", &[]), "no browser leaves the Host out");
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let host = ("host", "localhost:8080");
        for origin in ["http://localhost:8080", "https://LOCALHOST:8080"] {
            assert!(is_allowed("/", &[host, ("origin", origin)]), "{origin}");
        }
        for origin in [
            "http://evil.example",
            "http://localhost:3000",
            "http://localhost",
            "http://127.0.0.1:8080",
            "null",
            "",
        ] {
            assert!(!is_allowed("/", &[host, ("origin", origin)]), "{origin}");
        }
        assert!(!is_allowed("/", &[("origin", "http://localhost:8080")]), "without a Host");
        for (site, allowed) in [
            ("same-origin", true),
            ("none", true),
            ("same-site", false),
            ("cross-site", false),
            ("x", false),
        ] {
            assert_eq!(is_allowed("/", &[host, ("sec-fetch-site", site)]), allowed, "{site}");
        }
    }
}
