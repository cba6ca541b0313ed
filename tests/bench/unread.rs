//! Memory of the bank while 1,000 connections send requests and read no answer.
//!
//! Each connection sends 16 requests at once and then only waits. The bank runs as a process of its
//! own, from four addresses of this machine, since one address may not have so many connections.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::Outcome;
use crate::accounts::{self, ReadModels};
use crate::database::Store;
use crate::http::start;
use crate::measure::resident_mib_of;
use crate::options::Options;

const CONNECTIONS: u8 = 250;
const ADDRESSES: u8 = 4;
const PIPELINED: usize = 16;

/// Limit of the bank's memory in MiB.
const AT_MOST: u64 = 128;

/// Events of the account whose history is requested, more than a page has.
const EVENTS: usize = 1000;

const PATHS: [&str; 4] = [
    "/openapi.json",
    "/accounts/account-0/history?limit=500",
    "/accounts/account-0/statement?limit=500",
    "/accounts/account-0/events",
];

pub async fn run(options: &Options, store: Store) -> Outcome {
    let name = store.name();
    println!("\n{name}: 1,000 connections with {PIPELINED} requests each that read nothing, MiB");
    println!("{:<44} {:>6} {:>6} {:>8}", "", "idle", "peak", "at most");
    let database = store.fresh(options).await?;
    let account = accounts::id(0);
    let app = accounts::bank(&database, ReadModels::None).await?;
    accounts::open(&app, &account).await?;
    accounts::append(app.store(), vec![accounts::deposits(&account, EVENTS)?]).await?;
    app.shutdown().await;
    drop(app);
    for path in PATHS {
        let arguments = ["--streams", "4000", "--streams-each", "1000"];
        let (mut bank, address) = start(&database.url, &arguments).await?;
        let process = bank.id().ok_or("the bank has ended")?.to_string();
        let address: SocketAddr = address.trim_start_matches("http://").parse()?;
        let idle = resident_mib_of(&process)?;
        let mut held = Vec::new();
        for n in 0..ADDRESSES {
            for _ in 0..CONNECTIONS {
                held.push(unread([127, 0, 0, n + 2], address, path).await?);
            }
        }
        let mut peak = 0;
        for _ in 0..50 {
            peak = resident_mib_of(&process)?.max(peak);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let verdict = if peak <= AT_MOST { "" } else { "  TOO MUCH" };
        println!("{path:<44} {idle:>6} {peak:>6} {AT_MOST:>8}{verdict}");
        drop(held);
        bank.kill().await?;
    }
    Ok(())
}

/// A connection from this address that has sent its requests.
async fn unread(from: [u8; 4], to: SocketAddr, path: &str) -> Outcome<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let mut stream = socket.connect(to).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(PIPELINED);
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}
