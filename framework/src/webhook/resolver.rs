//! Resolves names to addresses that may be called. Every call gets its addresses here.
//!
//! The client connects only to addresses that this resolver returns, so it does not matter what a
//! name resolved to when it was registered. Lookups are limited per client, and separately for
//! registrations and calls, because a lookup occupies a thread until the name server responds.
//!
//! See `docs/decisions.md`, "Why is an address judged again at every connect?"

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::endpoint::{ForbiddenAddress, Rules};
use super::places::Places;

/// Maximum number of concurrent lookups for registrations.
const CHECKS: usize = 64;

/// Maximum number of concurrent lookups for calls: as many as there are concurrent calls. So a call
/// only lacks a place if lookups last longer than their calls.
const CALLS: usize = 256;

/// Maximum number of concurrent lookups for registrations of one client.
const CHECKS_PER_CLIENT: usize = 4;

/// Maximum number of concurrent lookups for calls of one client: as many as its concurrent calls.
const CALLS_PER_CLIENT: usize = 8;

tokio::task_local! {
    /// Client on whose behalf this task makes a call.
    pub(super) static CALLING_FOR: Arc<str>;
}

/// DNS resolver. Implement it to use another name server, or to return fixed addresses in a test.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// Returns the addresses of the name, in the order in which they are tried.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let name = name.to_owned();
        let looked_up = tokio::task::spawn_blocking(move || {
            let addresses = (name.as_str(), 0).to_socket_addrs()?;
            Ok(addresses.map(|address| address.ip()).collect())
        });
        looked_up.await.map_err(io::Error::other)?
    }
}

/// Purpose of a lookup.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Check,
    Call,
}

/// A resolver that returns only addresses that may be called.
pub(super) struct Vetted {
    rules: Arc<Rules>,
    resolver: Arc<dyn Resolver>,
    checks: Places,
    calls: Places,
}

impl Vetted {
    pub(super) fn new(rules: Arc<Rules>, resolver: Arc<dyn Resolver>) -> Self {
        let checks = Places::new(CHECKS, CHECKS_PER_CLIENT);
        let calls = Places::new(CALLS, CALLS_PER_CLIENT);
        Self { rules, resolver, checks, calls }
    }

    pub(super) async fn lookup(
        &self,
        name: &str,
        purpose: Purpose,
        client: &Arc<str>,
    ) -> Result<Vec<IpAddr>, ForbiddenAddress> {
        let places = match purpose {
            Purpose::Check => &self.checks,
            Purpose::Call => &self.calls,
        };
        let place = places.take(client).ok_or(ForbiddenAddress::Busy)?;
        let (resolver, name) = (Arc::clone(&self.resolver), name.to_owned());
        // A separate task holds the place, because the lookup occupies its thread until the name
        // server responds, even if the caller has stopped waiting.
        let looking = tokio::spawn(async move {
            let found = resolver.resolve(&name).await;
            drop(place);
            found
        });
        match looking.await {
            Ok(Ok(ips)) => self.rules.allowed(ips),
            Ok(Err(_)) | Err(_) => Err(ForbiddenAddress::Unresolved),
        }
    }
}

/// The resolver in the form that the HTTP client uses.
pub(super) struct Connecting(pub(super) Arc<Vetted>);

impl Resolve for Connecting {
    fn resolve(&self, name: Name) -> Resolving {
        let vetted = self.0.clone();
        // The HTTP client may connect in another task, without this value. Such lookups share the
        // places of one client, "".
        let client = CALLING_FOR.try_with(Arc::clone).unwrap_or_else(|_| "".into());
        Box::pin(async move {
            let ips = vetted.lookup(name.as_str(), Purpose::Call, &client).await?;
            // The HTTP client replaces port 0 with the port of the URL.
            let addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
