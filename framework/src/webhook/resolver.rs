//! From names to addresses that may be called: the only way a call finds its target.
//!
//! The client connects only to addresses that this resolver lets through, so it does not matter what a
//! name led to when it was registered. Look-ups are limited for each client, those of registrations
//! apart from those of calls, because a look-up takes a thread for as long as a name server likes.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::endpoint::{ForbiddenAddress, Rules};
use super::places::Places;

/// Look-ups at a time of URLs that are registered.
const CHECKS: usize = 64;

/// Look-ups at a time of calls: as many as there are calls at a time, so that a call has no place only
/// when look-ups outlive their calls.
const CALLS: usize = 256;

/// Look-ups at a time for one client that registers URLs.
const CHECKS_PER_CLIENT: usize = 4;

/// Look-ups at a time for the calls of one client: as many as it has calls at a time.
const CALLS_PER_CLIENT: usize = 8;

tokio::task_local! {
    /// The client on whose behalf this task makes a call.
    pub(super) static CALLING_FOR: Arc<str>;
}

/// Looks names up. Replace it to use another name server, or to lie in a test.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of the name, in the order in which they are tried.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// Looks names up as the operating system does.
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

/// The purpose of a look-up.
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
        // A task of its own keeps the place: the thread of a look-up is in use until the name server
        // answers, however long ago the caller stopped waiting.
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
        // The HTTP client may connect on a task of its own; such look-ups share the places of one.
        let client = CALLING_FOR.try_with(Arc::clone).unwrap_or_else(|_| "".into());
        Box::pin(async move {
            let ips = vetted.lookup(name.as_str(), Purpose::Call, &client).await?;
            // Port 0 is replaced by that of the URL.
            let addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
