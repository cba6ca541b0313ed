//! Options of the server's listening sockets on Linux, which every accepted connection inherits.
//!
//! A client that reads nothing holds what it was sent, in this process and in the kernel. The kernel
//! ends a connection whose data stays unacknowledged or unsent for too long, and keeps little that is
//! not sent yet. actix has neither limit. Elsewhere `socket_off.rs` stands in: use a proxy there.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use socket2::SockRef;

/// Maximum unsent bytes per connection in the kernel. Limits the cost of a client that does not
/// read. The throughput is not affected, because data in flight does not count.
const UNSENT_BYTES: u32 = 16 * 1024;

/// Lets the kernel end every connection of this listener that makes no progress in sending for so long.
pub(super) fn bound_sending(listener: &TcpListener, within: Duration) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_tcp_user_timeout(Some(within))?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)
}
