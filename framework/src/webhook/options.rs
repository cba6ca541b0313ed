//! What a client may call and how long it waits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::address::Network;
use super::endpoint::Rules;
use super::resolver::{Resolver, SystemResolver};

/// How to make a [`WebhookClient`](super::client::WebhookClient). What is not said here is safe on the
/// internet: https on port 443 to public addresses, certificates checked against the system's roots.
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
    /// Allows http as well, by which everybody on the way can read the message.
    #[must_use]
    pub fn allow_http(mut self) -> Self {
        self.rules.http = true;
        self
    }

    /// Allows this port beside 443 and 80, of every address.
    #[must_use]
    pub fn allow_port(mut self, port: u16) -> Self {
        self.rules.ports.push(port);
        self
    }

    /// Allows these addresses though they may not be public: whoever may register an endpoint can
    /// then have requests sent to every server there, on every allowed port.
    #[must_use]
    pub fn allow_private_network(mut self, network: Network) -> Self {
        self.rules.networks.push(network);
        self
    }

    /// How long a name may take to be looked up and, after that, a connection to be opened.
    /// Default 5 s.
    #[must_use]
    pub fn connect_within(mut self, within: Duration) -> Self {
        self.connect_within = within;
        self
    }

    /// How long a whole attempt may take, from the lookup to the head of the answer. Default 20 s.
    #[must_use]
    pub fn answer_within(mut self, within: Duration) -> Self {
        self.answer_within = within;
        self
    }

    /// Trusts these authorities (PEM) beside those of the system.
    #[must_use]
    pub fn trust_certificates(mut self, pem: &str) -> Self {
        self.certificates = Some(pem.to_owned());
        self
    }

    /// Looks names up by another resolver than the system's. What it finds is vetted all the same.
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

/// A client cannot be made: its certificates cannot be read, or the system has none.
#[derive(Debug, Clone, thiserror::Error)]
#[error("webhooks cannot be sent: {0}")]
pub struct InvalidOptions(pub(super) String);
