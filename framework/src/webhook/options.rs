//! Options of a webhook client: allowed addresses and timeouts.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::address::Network;
use super::endpoint::Rules;
use super::resolver::{Resolver, SystemResolver};

/// Options of a [`WebhookClient`](super::client::WebhookClient). The defaults are safe on the
/// internet: https on the ports 443 and 80, public addresses only, certificates verified against
/// the system's roots.
#[derive(Clone)]
pub struct WebhookOptions {
    pub(super) rules: Rules,
    pub(super) connect_within: Duration,
    pub(super) answer_within: Duration,
    pub(super) certificates: Option<String>,
    pub(super) resolver: Arc<dyn Resolver>,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            connect_within: Duration::from_secs(5),
            answer_within: Duration::from_secs(20),
            certificates: None,
            resolver: Arc::new(SystemResolver),
        }
    }
}

impl WebhookOptions {
    /// Allows http too. Everyone on the network path can then read the messages.
    #[must_use]
    pub fn allow_http(mut self) -> Self {
        self.rules.http = true;
        self
    }

    /// Allows this port of every address, beside 443 and 80.
    #[must_use]
    pub fn allow_port(mut self, port: u16) -> Self {
        self.rules.ports.push(port);
        self
    }

    /// Allows these addresses although they may not be public. Anyone who may register an endpoint
    /// can then send requests to every server in this network, on every allowed port.
    #[must_use]
    pub fn allow_private_network(mut self, network: Network) -> Self {
        self.rules.networks.push(network);
        self
    }

    /// Allows this address and port although it may not be public, also over http: for tests, and for
    /// receivers in the same network.
    #[must_use]
    pub fn allow_address(self, address: SocketAddr) -> Self {
        self.allow_http().allow_port(address.port()).allow_private_network(address.ip().into())
    }

    /// Timeout of a DNS lookup and, after that, of opening a connection. Default 5 s.
    #[must_use]
    pub fn connect_within(mut self, within: Duration) -> Self {
        self.connect_within = within;
        self
    }

    /// Timeout of a whole attempt, from the DNS lookup to the head of the response. Default 20 s.
    #[must_use]
    pub fn answer_within(mut self, within: Duration) -> Self {
        self.answer_within = within;
        self
    }

    /// Trusts these certificate authorities (PEM) beside those of the system.
    #[must_use]
    pub fn trust_certificates(mut self, pem: &str) -> Self {
        self.certificates = Some(pem.to_owned());
        self
    }

    /// Uses another resolver than the system's. The addresses it returns are checked all the same.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }
}

impl fmt::Debug for WebhookOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = f.debug_struct("WebhookOptions");
        options.field("rules", &self.rules).field("connect_within", &self.connect_within);
        options.field("answer_within", &self.answer_within).finish_non_exhaustive()
    }
}

/// Error of [`WebhookClient::new`](super::client::WebhookClient::new): the certificates cannot be
/// read, or the system has none.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot create the webhook client: {0}")]
pub struct InvalidOptions(pub(super) String);
