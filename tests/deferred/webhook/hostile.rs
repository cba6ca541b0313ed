//! Hostile servers: each call ends with a meaningful error, and uses few resources.

use std::io::{Read, Result, Write};
use std::net::{IpAddr, TcpStream};
use std::thread;
use std::time::Duration;

use actum::webhook::{Failure, ForbiddenAddress, Resolver, WebhookClient};
use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{local, message, secret, send_to};
use crate::support::receiver::Receiver;

/// Upper limit for the bytes that socket buffers and the client read from an endless answer.
const SWALLOWED: u64 = 64 << 20;

/// A server that sends this over and over, and the number of bytes it sent.
fn endless(beginning: &'static str, more: &'static [u8]) -> (Receiver, UnboundedReceiver<u64>) {
    let (count, counted) = unbounded_channel();
    let receiver = Receiver::start(move |stream| {
        let mut sent = 0;
        stream.write_all(beginning.as_bytes())?;
        while sent < 10 << 30 && stream.write_all(more).is_ok() {
            sent += more.len() as u64;
        }
        count.send(sent).expect("the test waits");
        Ok(())
    });
    (receiver, counted)
}

/// Waits until the client closes the connection.
fn wait(stream: &mut TcpStream) -> Result<()> {
    std::io::copy(stream, &mut std::io::sink()).map(|_| ())
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let hangs = Receiver::start(wait);
    assert_eq!(send_to(&hangs).await.result, Err(Failure::TimedOut));
}

#[tokio::test]
async fn a_server_that_trickles_its_answer_is_given_up() {
    let trickles = Receiver::start(|stream| {
        loop {
            stream.write_all(b"H")?;
            thread::sleep(Duration::from_millis(200));
            stream.write_all(b"TTP/1.1 100 Continue\r\n\r\n")?;
        }
    });
    assert_eq!(send_to(&trickles).await.result, Err(Failure::TimedOut));
    let head = Receiver::start(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
        loop {
            stream.write_all(b"x")?;
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(send_to(&head).await.result, Err(Failure::TimedOut));
}

#[tokio::test]
async fn a_body_is_not_read_however_long_or_slow() {
    let (long, mut sent) =
        endless("HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n", &[b'x'; 65_536]);
    assert_eq!(send_to(&long).await.result, Ok(200));
    let sent = sent.recv().await.expect("it was cut off");
    assert!(sent < SWALLOWED, "{sent} bytes went");
    let slow = Receiver::start(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        wait(stream)
    });
    assert_eq!(send_to(&slow).await.result, Ok(200));
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let many = b"x-and-another: one\r\n";
    let (lines, mut sent) = endless("HTTP/1.1 200 OK\r\n", many);
    let attempt = send_to(&lines).await;
    assert!(matches!(attempt.result, Err(Failure::Broken(_))), "{attempt:?}");
    assert!(sent.recv().await.expect("it was cut off") < SWALLOWED);
    let (line, mut sent) = endless("HTTP/1.1 200 OK\r\nx: ", &[b'x'; 4096]);
    let attempt = send_to(&line).await;
    assert!(matches!(attempt.result, Err(Failure::Broken(_))), "{attempt:?}");
    assert!(sent.recv().await.expect("it was cut off") < SWALLOWED);
}

#[tokio::test]
async fn answers_before_the_answer_without_end_are_given_up() {
    let (interim, mut sent) = endless("", b"HTTP/1.1 103 Early Hints\r\n\r\n");
    assert_eq!(send_to(&interim).await.result, Err(Failure::TimedOut));
    assert!(sent.recv().await.is_some());
}

#[tokio::test]
async fn an_invalid_answer_is_a_failure() {
    for nonsense in
        ["", "SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 2OO OK\r\n\r\n", "200 OK\r\n\r\n", "\0"]
    {
        let receiver = Receiver::start(move |stream| stream.write_all(nonsense.as_bytes()));
        let attempt = send_to(&receiver).await;
        assert!(matches!(attempt.result, Err(Failure::Broken(_))), "{nonsense:?}: {attempt:?}");
        assert_eq!(receiver.requests().len(), 1, "{nonsense:?} had it sent again");
    }
    let resets = Receiver::raw(|stream| stream.read_exact(&mut [0]));
    let attempt = send_to(&resets).await;
    assert!(matches!(attempt.result, Err(Failure::Broken(_))), "{attempt:?}");
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let canary = Receiver::answering("200 OK");
    for code in [300, 301, 302, 303, 305, 307, 308] {
        let location = canary.url();
        let redirects = Receiver::start(move |stream| {
            write!(stream, "HTTP/1.1 {code} Elsewhere\r\nlocation: {location}\r\n")?;
            write!(stream, "refresh: 0; url={location}\r\ncontent-length: 0\r\n\r\n")
        });
        assert_eq!(send_to(&redirects).await.result, Err(Failure::Status(code)));
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_cookie_is_not_kept() {
    let receiver = Receiver::answering("200 OK\r\nset-cookie: a=b; path=/");
    let client = WebhookClient::new(local(receiver.port)).unwrap();
    let endpoint = client.endpoint(&receiver.url()).unwrap();
    for _ in 0..2 {
        client.send(&endpoint, &[secret()], &message()).await;
    }
    let cookies: Vec<_> =
        receiver.requests().iter().map(|r| r.header("cookie").is_some()).collect();
    assert_eq!(cookies, [false, false]);
}

#[tokio::test]
async fn servers_that_hang_hold_up_no_other() {
    let (hangs, good) = (Receiver::start(wait), Receiver::answering("200 OK"));
    let options = local(hangs.port).allow_port(good.port).answer_within(Duration::from_secs(3600));
    let client = WebhookClient::new(options).unwrap();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (client, url) = (client.clone(), hangs.url());
            tokio::spawn(async move {
                let endpoint = client.endpoint(&url).unwrap();
                client.send(&endpoint, &[secret()], &message()).await
            })
        })
        .collect();
    while hangs.requests().len() < waiting.len() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let endpoint = client.endpoint(&good.url()).unwrap();
    assert_eq!(client.send(&endpoint, &[secret()], &message()).await.result, Ok(200));
    assert!(waiting.iter().all(|call| !call.is_finished()));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

struct Silent;

#[async_trait]
impl Resolver for Silent {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_name_server_that_never_answers_is_given_up() {
    let patience = Duration::from_millis(100);
    let options = local(80).resolver(Silent).connect_within(patience).answer_within(patience);
    let client = WebhookClient::new(options).unwrap();
    let url = "https://hooks.example/";
    assert_eq!(client.check(url).await, Err(ForbiddenAddress::Unresolved));
    let endpoint = client.endpoint(url).unwrap();
    let attempt = client.send(&endpoint, &[secret()], &message()).await;
    assert_eq!(attempt.result, Err(Failure::TimedOut));
}
