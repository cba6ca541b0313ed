//! Delivery of pipelined requests, and whole exchanges with a server.

use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::web::Bytes;
use actix_web::{App, HttpResponse, web};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::one_request::AHEAD_BYTES;
use super::*;

const FIRST: &str = "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n";
const SECOND: &str = "POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";

/// Bytes that can be read now; `None` if reading waits.
async fn read_now(connection: &mut OneRequest<DuplexStream>) -> Option<String> {
    let mut bytes = vec![0; 1 << 20];
    // A single poll: the duplex stream has its bytes in memory.
    let read = timeout(Duration::ZERO, connection.read(&mut bytes)).await.ok()?.unwrap();
    Some(String::from_utf8(bytes[..read].to_vec()).unwrap())
}

#[actix_web::test]
async fn a_request_waits_for_the_response_to_the_one_before() {
    let (mut client, server) = duplex(1 << 20);
    let mut connection = OneRequest::new(server);
    let gate = connection.gate();
    client.write_all([FIRST, SECOND, FIRST].concat().as_bytes()).await.unwrap();
    for request in [FIRST, SECOND, FIRST] {
        assert_eq!(read_now(&mut connection).await.as_deref(), Some(request));
        assert_eq!(read_now(&mut connection).await, None);
        gate.responded();
    }
    assert_eq!(read_now(&mut connection).await, None);
    drop(client);
    assert_eq!(read_now(&mut connection).await.as_deref(), Some(""));
}

#[actix_web::test]
async fn little_is_read_ahead_of_a_response() {
    let (mut client, server) = duplex(1 << 20);
    let mut connection = OneRequest::new(server);
    client.write_all(FIRST.as_bytes()).await.unwrap();
    assert!(read_now(&mut connection).await.is_some());
    client.write_all(FIRST.repeat(6000).as_bytes()).await.unwrap();
    assert_eq!(read_now(&mut connection).await, None);
    assert!((AHEAD_BYTES..2 * AHEAD_BYTES).contains(&connection.ahead_bytes()));
}

#[actix_web::test]
async fn a_client_that_hangs_up_is_noticed_before_the_response() {
    let (mut client, server) = duplex(1024);
    let mut connection = OneRequest::new(server);
    client.write_all(FIRST.as_bytes()).await.unwrap();
    assert!(read_now(&mut connection).await.is_some());
    let mut byte = [0; 1];
    let (read, ()) = tokio::join!(connection.read(&mut byte), async { drop(client) });
    assert_eq!(read.unwrap(), 0);
}

#[actix_web::test]
async fn a_response_before_the_end_of_its_request_opens_the_gate_once() {
    let (mut client, server) = duplex(1024);
    let mut connection = OneRequest::new(server);
    let gate = connection.gate();
    let (head, body) = SECOND.split_at(SECOND.len() - 2);
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_now(&mut connection).await.as_deref(), Some(head));
    gate.responded();
    client.write_all([body, FIRST, FIRST].concat().as_bytes()).await.unwrap();
    assert_eq!(read_now(&mut connection).await.as_deref(), Some(body));
    assert_eq!(read_now(&mut connection).await.as_deref(), Some(FIRST));
    assert_eq!(read_now(&mut connection).await, None);
}

#[actix_web::test]
async fn a_server_responds_to_pipelined_requests_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let make = || {
        let respond = |path: web::Path<String>, body: Bytes| async move {
            let large = "x".repeat(path.parse().unwrap_or(0));
            HttpResponse::Ok().body(format!("<{path} {} {large}>", body.len()))
        };
        App::new().wrap(from_fn(responds)).route("/{path}", web::route().to(respond))
    };
    let server =
        listen(listener, Capacity { workers: 1, connections: 10 }, None, |_| {}, make).unwrap();
    let handle = server.handle();
    let server = actix_web::rt::spawn(server);
    let mut client = TcpStream::connect(address).await.unwrap();
    let chunked = "POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let mut requests = String::new();
    for n in 0..100 {
        requests += &format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n{SECOND}{chunked}", n * 1000);
    }
    requests += "GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let (mut reads, mut writes) = client.split();
    let mut responses = String::new();
    let (wrote, read) =
        tokio::join!(writes.write_all(requests.as_bytes()), reads.read_to_string(&mut responses));
    wrote.unwrap();
    read.unwrap();
    let mut rest = responses.as_str();
    for n in 0..100 {
        for expected in [format!("<{} 0 ", n * 1000), "<2 3 xx>".to_owned(), "<c 5 >".to_owned()] {
            rest = rest.split_once(&expected).unwrap().1;
        }
    }
    assert!(rest.contains("<last 0 >"));
    handle.stop(false).await;
    let _ = server.await;
}
