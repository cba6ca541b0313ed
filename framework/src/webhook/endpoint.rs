//! Rules for callable URLs that can be checked without a DNS lookup.
//!
//! The parsed URL is checked, not its text: `0x7f.1`, `2130706433` and `１２７.0.0.1` are all
//! 127.0.0.1, here and when the call is made.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

use super::address::{Network, not_public};

/// Maximum length of a URL in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// Target of messages: a URL that may be called.
///
/// Path and query may contain a token, so only the origin is ever printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) url: Url,
}

impl Endpoint {
    /// Whole URL, to be stored. [`WebhookClient::endpoint`](super::client::WebhookClient::endpoint)
    /// reads it back.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url.origin().ascii_serialization())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self}/…)")
    }
}

/// Reason why an address must not be called. Safe to show to the client that chose the address,
/// because it names the rule and nothing that was found behind the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForbiddenAddress {
    /// The text is not a URL, or a URL without a host.
    #[error("not a URL with a host")]
    NotAUrl,
    /// The URL is longer than [`MAX_URL_BYTES`].
    #[error("it is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// The scheme is neither https nor, where that is allowed, http.
    #[error("its scheme is not allowed")]
    Scheme,
    /// The URL contains a user name or a password.
    #[error("it has a user name or a password")]
    Credentials,
    /// The URL contains a fragment (`#…`), which no server would receive.
    #[error("it has a fragment")]
    Fragment,
    /// The port is neither 443 nor 80 nor allowed by the options.
    #[error("the port {0} is not allowed")]
    Port(u16),
    /// The host is not, or does not resolve to, a public address.
    #[error("the host does not resolve to a public address: {0}")]
    NotPublic(&'static str),
    /// The name cannot be resolved, or not in time. A later attempt may succeed.
    #[error("the host name cannot be resolved")]
    Unresolved,
    /// Too many DNS lookups are in progress, in total or for this client. The address was not
    /// checked: retry after a pause.
    #[error("too many DNS lookups are in progress; retry later")]
    Busy,
}

/// URLs and addresses that may be called, including those that the options add.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    pub(super) http: bool,
    pub(super) ports: Vec<u16>,
    pub(super) networks: Vec<Network>,
}

impl Rules {
    /// Checks everything except the addresses that the name resolves to.
    pub(super) fn endpoint(&self, text: &str) -> Result<Endpoint, ForbiddenAddress> {
        if text.len() > MAX_URL_BYTES {
            return Err(ForbiddenAddress::TooLong);
        }
        let url = Url::parse(text).map_err(|_| ForbiddenAddress::NotAUrl)?;
        self.judge_url(&url)?;
        Ok(Endpoint { url })
    }

    pub(super) fn judge_url(&self, url: &Url) -> Result<(), ForbiddenAddress> {
        if !(url.scheme() == "https" || (url.scheme() == "http" && self.http)) {
            return Err(ForbiddenAddress::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ForbiddenAddress::Credentials);
        }
        if url.fragment().is_some() {
            return Err(ForbiddenAddress::Fragment);
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if ![443, 80].contains(&port) && !self.ports.contains(&port) {
            return Err(ForbiddenAddress::Port(port));
        }
        match ip_of(url)? {
            Some(ip) => self.judge_ip(ip),
            None => Ok(()),
        }
    }

    pub(super) fn judge_ip(&self, ip: IpAddr) -> Result<(), ForbiddenAddress> {
        if self.networks.iter().any(|network| network.contains(ip)) {
            return Ok(());
        }
        not_public(ip).map_or(Ok(()), |kind| Err(ForbiddenAddress::NotPublic(kind)))
    }

    /// Returns the addresses that may be called, or the reason of a refusal if there are none.
    pub(super) fn allowed(&self, ips: Vec<IpAddr>) -> Result<Vec<IpAddr>, ForbiddenAddress> {
        let mut refusal = ForbiddenAddress::Unresolved;
        let mut allowed = Vec::with_capacity(ips.len());
        for ip in ips {
            match self.judge_ip(ip) {
                Ok(()) => allowed.push(ip),
                Err(forbidden) => refusal = forbidden,
            }
        }
        if allowed.is_empty() { Err(refusal) } else { Ok(allowed) }
    }
}

/// Returns the IP address in the URL itself, or `None` if the URL has a name instead.
pub(super) fn ip_of(url: &Url) -> Result<Option<IpAddr>, ForbiddenAddress> {
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(ForbiddenAddress::NotAUrl)?;
    let Some(v6) = host.strip_prefix('[') else { return Ok(host.parse().ok()) };
    let v6 = v6.trim_end_matches(']').parse().map_err(|_| ForbiddenAddress::NotAUrl)?;
    Ok(Some(v6))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> ForbiddenAddress {
        let judged = Rules { http: true, ..Rules::default() }.endpoint(url);
        judged.expect_err(&format!("{url} passed"))
    }

    #[test]
    fn every_spelling_of_an_address_that_is_not_public_is_refused() {
        let hosts = "127.0.0.1 127.1 127.0.1 0x7f.1 0x7F000001 2130706433 017700000001 0177.0.0.1 \
            127.0.0.1. 0 0.0.0.0 127.0.0.1%2e 127%2E0.0.1 %31%32%37.0.0.1 １２７.０.０.１ ①②⑦.⓪.⓪.① \
            127。0。0。1 10.0.0.1 0xa.1 169.254.169.254 0xa9fea9fe 2852039166 0251.0376.0251.0376 \
            100.100.100.200 172.16.0.1 192.168.1.1 192.0.0.192 198.18.0.1 224.0.0.1 255.255.255.255 \
            [::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::FFFF:A9FE:A9FE] \
            [::127.0.0.1] [fd00:ec2::254] [fd00::1] [fe80::1] [fec0::1] [64:ff9b::10.0.0.1] \
            [64:ff9b::7f00:1] [2002:7f00:1::] [2001:0:7f00:1::] [ff02::1]";
        for host in hosts.split_whitespace() {
            for url in [format!("http://{host}/"), format!("https://{host}:443/x?y")] {
                let refused = refusal(&url);
                assert!(matches!(refused, ForbiddenAddress::NotPublic(_)), "{url}: {refused}");
            }
        }
    }

    #[test]
    fn what_is_more_than_an_address_is_refused() {
        for url in "ftp://a.example/ file:///etc/passwd gopher://a.example:80/ data:text/plain,x \
            javascript:alert(1) ws://a.example/ unix:/run/x dict://a.example:443/"
            .split_whitespace()
        {
            assert_eq!(refusal(url), ForbiddenAddress::Scheme, "{url}");
        }
        for url in ["", "a.example", "//a.example", "https://", "http://[::1", "http://256.0.0.1/"]
        {
            assert_eq!(refusal(url), ForbiddenAddress::NotAUrl, "{url}");
        }
        for url in ["https://a@b.example/", "https://:p@b.example", "https://8.8.8.8@127.0.0.1/"] {
            assert_eq!(refusal(url), ForbiddenAddress::Credentials, "{url}");
        }
        assert_eq!(refusal("https://a.example/#x"), ForbiddenAddress::Fragment);
        for port in [0, 22, 25, 6379, 8080, 8443] {
            let url = format!("https://a.example:{port}/");
            assert_eq!(refusal(&url), ForbiddenAddress::Port(port));
        }
        let long = format!("https://a.example/{}", "x".repeat(MAX_URL_BYTES));
        assert_eq!(refusal(&long), ForbiddenAddress::TooLong);
    }

    #[test]
    fn only_https_passes_unless_more_is_allowed() {
        let rules = Rules::default();
        assert!(rules.endpoint("https://hooks.example/a?token=b").is_ok());
        assert!(rules.endpoint("https://8.8.8.8/").is_ok());
        assert!(rules.endpoint("https://[2606:4700:4700::1111]/").is_ok());
        assert_eq!(rules.endpoint("http://hooks.example/"), Err(ForbiddenAddress::Scheme));
        let networks = vec!["10.0.0.0/8".parse().unwrap()];
        let rules = Rules { http: true, ports: vec![8080], networks };
        assert!(rules.endpoint("http://10.1.2.3:8080/").is_ok());
        assert!(rules.endpoint("http://[::ffff:10.1.2.3]/").is_ok());
        let loopback = rules.endpoint("http://127.0.0.1:8080/");
        assert_eq!(loopback, Err(ForbiddenAddress::NotPublic("loopback")));
        assert_eq!(rules.endpoint("http://10.1.2.3:81/"), Err(ForbiddenAddress::Port(81)));
    }

    #[test]
    fn of_many_addresses_those_that_are_public_are_left() {
        let ips = |text: &str| text.split(' ').map(|ip| ip.parse().unwrap()).collect::<Vec<_>>();
        let rules = Rules::default();
        assert_eq!(rules.allowed(ips("127.0.0.1 8.8.8.8 ::1")), Ok(ips("8.8.8.8")));
        let refused = rules.allowed(ips("10.0.0.1 127.0.0.1"));
        assert_eq!(refused, Err(ForbiddenAddress::NotPublic("loopback")));
        assert_eq!(rules.allowed(Vec::new()), Err(ForbiddenAddress::Unresolved));
    }

    #[test]
    fn a_token_in_the_path_is_not_printed() {
        let endpoint = Rules::default().endpoint("https://hooks.example/T0/secret?key=secret");
        let endpoint = endpoint.unwrap();
        assert_eq!(format!("{endpoint} {endpoint:?}").matches("https://hooks.example").count(), 2);
        assert!(!format!("{endpoint} {endpoint:?}").contains("secret"));
        assert!(endpoint.as_str().ends_with("/T0/secret?key=secret"));
    }
}
