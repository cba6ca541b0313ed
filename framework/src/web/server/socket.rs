//! Options of the listening sockets on Linux, inherited by every accepted connection.
//!
//! A client that reads nothing occupies memory for its unread responses, in this process and in the
//! kernel. With these options the kernel closes a connection whose data is not sent or acknowledged
//! for too long, and buffers little unsent data. actix has neither limit. On other systems
//! `socket_off.rs` is used: put a proxy in front there.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use socket2::SockRef;

/// Maximum unsent bytes per connection in the kernel. Limits the cost of a client that does not
/// read. The throughput is not affected, because data in flight does not count.
const UNSENT_BYTES: u32 = 16 * 1024;

/// Sets the options: the kernel closes every connection of this listener that makes no progress in
/// sending for `within`.
pub(super) fn bound_sending(listener: &TcpListener, within: Duration) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_tcp_user_timeout(Some(within))?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)
}
