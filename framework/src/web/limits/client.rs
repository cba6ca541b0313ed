//! Client that a limit counts: the principal if the request is authenticated, otherwise its IP
//! address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::HttpRequest;

use crate::web::principal::Principal;

/// A client, as limits count it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    Principal(String),
    Peer(IpAddr),
    /// A connection without an address.
    Unknown,
}

impl Client {
    pub(crate) fn of(request: &HttpRequest) -> Self {
        match Principal::of(request) {
            Some(principal) => Self::Principal(principal.id),
            None => Self::peer(request.peer_addr()),
        }
    }

    /// Returns the client of a connection's peer address. Headers such as `Forwarded` are not
    /// trusted. So a proxy in front of the server counts as one client and needs a higher limit.
    pub(crate) fn peer(address: Option<SocketAddr>) -> Self {
        match address.map(|address| address.ip().to_canonical()) {
            None => Self::Unknown,
            Some(IpAddr::V4(address)) => Self::Peer(address.into()),
            // Only the /64 prefix counts, because each customer has at least 2^64 IPv6 addresses.
            Some(IpAddr::V6(address)) => {
                Self::Peer(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_one_ipv6_network_are_one_client_and_ipv4_is_itself_however_written() {
        let peer = |text: &str| Client::peer(Some(SocketAddr::new(text.parse().unwrap(), 1)));
        assert_eq!(peer("2001:db8:1:2::3"), peer("2001:db8:1:2:ffff::"));
        assert_ne!(peer("2001:db8:1:2::3"), peer("2001:db8:1:3::3"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }
}
