//! Addresses of a server, reserved before anything else happens.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;

use tokio::net::TcpSocket;

use crate::box_error::BoxError;

/// Default distance of the operations port from the public port. Larger than one, because the next
/// server may listen on the next port.
const OPERATIONS_ABOVE: u16 = 1000;

/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Reserved addresses. Clients cannot connect yet.
///
/// Reserve them before you open the store, because a port in use must not leave a new database
/// behind. From then on a stop signal (SIGINT, SIGTERM) is recorded for the server, so a signal
/// during the start of the application is not lost.
pub struct Listeners {
    pub(super) public: TcpSocket,
    pub(super) operations: TcpSocket,
    pub(super) told_to_stop: Pin<Box<dyn Future<Output = ()>>>,
}

impl Listeners {
    /// Reserves the public address and the one of the operations API, which must be a loopback
    /// address. Port 0 uses a free port. The default for operations is 127.0.0.1 with the public
    /// port plus 1000, or a free port if that one is in use.
    ///
    /// # Errors
    /// An address is in use or does not belong to this machine, or the operations address is not a
    /// loopback address.
    pub fn bind(public: SocketAddr, operations: Option<SocketAddr>) -> Result<Self, BoxError> {
        let socket = bind(public)?;
        let operations = match operations {
            Some(address) if !address.ip().is_loopback() => {
                let what = "operators ask on a loopback address only";
                return Err(format!("cannot serve operators on {address}: {what}").into());
            }
            Some(address) => bind(address)?,
            None => beside(public.port())?,
        };
        let told_to_stop = Box::pin(told_to_stop()?);
        Ok(Self { public: socket, operations, told_to_stop })
    }
}

fn bind(address: SocketAddr) -> Result<TcpSocket, BoxError> {
    let bound = reserve(address);
    Ok(bound.map_err(|error| format!("cannot listen on {address}: {error}"))?)
}

fn reserve(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?; // a server that starts again at once finds its address free
    socket.bind(address)?;
    Ok(socket)
}

/// Reserves the default address of the operations API.
fn beside(public: u16) -> std::io::Result<TcpSocket> {
    let port = match public {
        0 => 0,
        port => port.checked_add(OPERATIONS_ABOVE).unwrap_or(0),
    };
    let local = |port| reserve((Ipv4Addr::LOCALHOST, port).into());
    // The default port may be replaced by another one.
    match local(port) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => local(0),
        bound => bound,
    }
}

/// Starts to listen, so that clients can connect.
pub(super) fn listen(socket: TcpSocket) -> Result<TcpListener, BoxError> {
    let address = socket.local_addr()?;
    let listening = socket.listen(BACKLOG).and_then(tokio::net::TcpListener::into_std);
    Ok(listening.map_err(|error| format!("cannot listen on {address}: {error}"))?)
}

/// Returns a future that completes when the process gets a stop signal. Signals count from this
/// call on, not from the first poll.
#[cfg(unix)]
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
