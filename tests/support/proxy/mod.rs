//! A network that fails between a client and PostgreSQL: a TCP proxy that cuts, blocks, delays or
//! refuses connections, or drops one selected reply. Tests switch it while it runs.
//!
//! For plain connections only: it reads the protocol, and so it must not be encrypted.

mod messages;
#[cfg(test)]
mod tests;

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use self::messages::{Replies, Requests};
use crate::support::postgres::free_port;

/// A proxy on a port of its own. Its connections end with it.
pub struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    loss: Arc<Loss>,
}

/// Treatment of all connections.
#[derive(Clone, Copy)]
struct Network {
    mode: Mode,
    /// A connection that began at another count has been cut.
    cuts: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Pass,
    Delay(Duration),
    Blackhole,
    Refuse,
}

/// The replies that are to be lost: to statements with this text, so many more times.
#[derive(Default)]
struct Loss {
    wanted: Mutex<(String, usize)>,
    swallowed: AtomicUsize,
}

impl Proxy {
    /// Starts one in front of the server on this port of 127.0.0.1.
    pub async fn start(target: u16) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (network, seen) = watch::channel(Network { mode: Mode::Pass, cuts: 0 });
        let loss = Arc::<Loss>::default();
        tokio::spawn(listen(listener, target, seen, Arc::clone(&loss)));
        Self { port, network, loss }
    }

    /// Port of the proxy on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the effect of the methods below. A connection that lost bytes stays silent.
    pub fn pass(&self) {
        self.mode(Mode::Pass);
    }

    /// Closes all connections now.
    pub fn cut(&self) {
        self.network.send_modify(|network| network.cuts += 1);
    }

    /// Swallows what is sent in both directions, new connections included, and closes none: neither
    /// side learns that the other is gone.
    pub fn blackhole(&self) {
        self.mode(Mode::Blackhole);
    }

    /// Delays all bytes by this time, each way. They arrive even if the sender has gone since.
    pub fn delay(&self, by: Duration) {
        self.mode(Mode::Delay(by));
    }

    /// Refuses new connections, and keeps those that are open.
    pub fn refuse(&self) {
        self.mode(Mode::Refuse);
    }

    /// Drops the replies to the next `times` statements with this text. The server has executed and
    /// answered the statement, and the client's connection is closed instead. An empty text matches
    /// every statement.
    pub fn swallow_replies_to(&self, text: &str, times: usize) {
        *self.loss.wanted.lock().unwrap() = (text.to_owned(), times);
    }

    /// Number of dropped replies.
    pub fn swallowed(&self) -> usize {
        self.loss.swallowed.load(Ordering::SeqCst)
    }

    fn mode(&self, mode: Mode) {
        self.network.send_modify(|network| network.mode = mode);
    }
}

impl Loss {
    /// Checks if the reply to this statement is to be dropped, and counts it.
    fn takes(&self, statement: &[u8]) -> bool {
        let (text, times) = &mut *self.wanted.lock().unwrap();
        let takes = *times > 0 && String::from_utf8_lossy(statement).contains(text.as_str());
        *times -= usize::from(takes);
        takes
    }
}

async fn listen(
    listener: TcpListener,
    target: u16,
    network: watch::Receiver<Network>,
    loss: Arc<Loss>,
) -> Option<()> {
    let address = listener.local_addr().unwrap();
    let (mut listener, mut mode) = (Some(listener), network.clone());
    loop {
        let open = match listener.take() {
            Some(open) => open,
            // It was closed while refusing.
            None => TcpListener::bind(address).await.unwrap(),
        };
        loop {
            tokio::select! {
                refusing = mode.wait_for(|network| network.mode == Mode::Refuse) => {
                    refusing.ok()?;
                    break;
                }
                accepted = open.accept() => {
                    let (network, loss) = (network.clone(), Arc::clone(&loss));
                    tokio::spawn(connection(accepted.unwrap().0, target, network, loss));
                }
            }
        }
        drop(open);
        mode.wait_for(|network| network.mode != Mode::Refuse).await.ok()?;
    }
}

/// One connection, until it is cut or the server closes it.
async fn connection(
    client: TcpStream,
    target: u16,
    network: watch::Receiver<Network>,
    loss: Arc<Loss>,
) -> io::Result<()> {
    let mut cut = network.clone();
    let cuts = cut.borrow().cuts;
    let server = TcpStream::connect(("127.0.0.1", target)).await?;
    // The proxy must add no delay but the one that the test has set.
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let (from_server, to_server) = server.into_split();
    let (from_client, to_client) = client.into_split();
    let (lost, reply) = (AtomicBool::new(false), AtomicUsize::new(usize::MAX));
    let connection = Connection { network, loss, lost, swallow: reply };
    tokio::select! {
        // An error is no end: what the server did meanwhile still has to be answered or lost.
        _ = async { connection.requests(from_client, to_server).await.ok(); pending().await } => {}
        replied = connection.replies(from_server, to_client) => replied?,
        _ = cut.wait_for(|network| network.cuts != cuts) => {}
    }
    Ok(())
}

struct Connection {
    network: watch::Receiver<Network>,
    loss: Arc<Loss>,
    /// Bytes were swallowed, so that none after them can make sense.
    lost: AtomicBool,
    /// The number of the reply that is to be lost.
    swallow: AtomicUsize,
}

impl Connection {
    /// Waits until the bytes may go on. Returns false if they are lost.
    async fn arrives(&self) -> bool {
        let mode = self.network.borrow().mode;
        match mode {
            Mode::Delay(by) => tokio::time::sleep(by).await,
            Mode::Blackhole => self.lost.store(true, Ordering::SeqCst),
            Mode::Pass | Mode::Refuse => {}
        }
        !self.lost.load(Ordering::SeqCst)
    }

    async fn requests(
        &self,
        mut client: OwnedReadHalf,
        mut server: OwnedWriteHalf,
    ) -> io::Result<()> {
        let (mut requests, mut bytes) = (Requests::new(), vec![0; 1 << 16]);
        loop {
            let count = client.read(&mut bytes).await.unwrap_or(0);
            if !self.arrives().await {
                // A goodbye is swallowed too.
                if count == 0 {
                    return pending().await;
                }
                continue;
            }
            if count == 0 {
                return server.shutdown().await;
            }
            for (statement, reply) in requests.read(&bytes[..count]) {
                if self.loss.takes(&statement) {
                    self.swallow.fetch_min(reply, Ordering::SeqCst);
                }
            }
            server.write_all(&bytes[..count]).await?;
        }
    }

    async fn replies(
        &self,
        mut server: OwnedReadHalf,
        mut client: OwnedWriteHalf,
    ) -> io::Result<()> {
        let (mut replies, mut bytes) = (Replies::default(), vec![0; 1 << 16]);
        loop {
            let count = server.read(&mut bytes).await.unwrap_or(0);
            if !self.arrives().await {
                if count == 0 {
                    return pending().await;
                }
                continue;
            }
            if count == 0 {
                return Ok(());
            }
            for (message, reply, is_last) in replies.read(&bytes[..count]) {
                if reply < self.swallow.load(Ordering::SeqCst) {
                    client.write_all(&message).await?;
                } else if is_last {
                    self.loss.swallowed.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
            }
        }
    }
}
