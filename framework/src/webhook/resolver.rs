//! From names to addresses that may be called: the only way a call finds its target.
//!
//! The client connects to what this resolver lets through and to nothing else, so what a name led to
//! at its registration does not matter.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::endpoint::{ForbiddenAddress, Rules};

/// Looks names up. Replace it to ask another name server, or to lie in a test.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of the name, in the order in which they are tried.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// Lookups at once. Each takes a thread for as long as the name server of a stranger likes.
const LOOKUPS: usize = 64;

/// Asks the operating system.
#[derive(Debug, Clone)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let lookup = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let looked_up = tokio::task::spawn_blocking(move || {
            // Held by the thread: whoever asked may have stopped waiting long ago.
            let _lookup = lookup;
            let addresses = (name.as_str(), 0).to_socket_addrs()?;
            Ok(addresses.map(|address| address.ip()).collect())
        });
        looked_up.await.map_err(io::Error::other)?
    }
}

/// A resolver that keeps what may not be called to itself.
pub(super) struct Vetted {
    pub(super) rules: Arc<Rules>,
    pub(super) resolver: Arc<dyn Resolver>,
}

impl Vetted {
    pub(super) async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, ForbiddenAddress> {
        let ips = self.resolver.resolve(name).await.map_err(|_| ForbiddenAddress::Unresolved)?;
        self.rules.allowed(ips)
    }
}

/// What the HTTP client holds of it.
pub(super) struct Connecting(pub(super) Arc<Vetted>);

impl Resolve for Connecting {
    fn resolve(&self, name: Name) -> Resolving {
        let vetted = self.0.clone();
        Box::pin(async move {
            let ips = vetted.lookup(name.as_str()).await?;
            // Port 0 is replaced by that of the URL.
            let addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
