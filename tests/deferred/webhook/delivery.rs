//! The request that a receiver gets, and the meaning of its answers.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use actum::webhook::{Failure, Outcome, RetrySchedule, Signed, WebhookClient};
use time::OffsetDateTime;

use super::{local, message, secret, send_to};
use crate::support::receiver::Receiver;

/// The HMAC of this text, computed by another implementation.
fn by_openssl(content: &str) -> String {
    let key = "31f290f6bf06298aab4f08d43c3f082cf648a362da2da4b0";
    let command = format!("openssl dgst -sha256 -mac HMAC -macopt hexkey:{key} -binary | base64");
    let mut openssl = Command::new("sh")
        .args(["-c", &command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl");
    let mut stdin = openssl.stdin.take().expect("its input");
    stdin.write_all(content.as_bytes()).expect("written");
    drop(stdin);
    let output = openssl.wait_with_output().expect("its output");
    String::from_utf8(output.stdout).expect("base64").trim().to_owned()
}

#[tokio::test]
async fn a_message_arrives_once_and_its_signature_verifies() {
    let receiver = Receiver::answering("204 No Content");
    assert_eq!(send_to(&receiver).await.result, Ok(204));
    let requests = receiver.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert!(request.head.starts_with("POST /hook?token=hidden HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.body, br#"{"hello":"world"}"#);
    let header = |name| request.header(name).unwrap_or_default();
    let signed = Signed {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: &request.body,
    };
    assert_eq!(signed.id, "msg_1");
    let now = OffsetDateTime::now_utc();
    assert_eq!(signed.verify(&[secret()], now, Signed::TOLERANCE), Ok(()));
    let content = [signed.id, signed.timestamp, r#"{"hello":"world"}"#].join(".");
    assert_eq!(signed.signature, format!("v1,{}", by_openssl(&content)));
    for absent in ["cookie", "authorization", "referer", "accept-encoding"] {
        assert_eq!(request.header(absent), None);
    }
}

#[tokio::test]
async fn each_answer_means_what_the_table_says() {
    for (head, expected) in [
        ("200 OK", Ok(200)),
        ("202 Accepted", Ok(202)),
        ("304 Not Modified", Err(Failure::Status(304))),
        ("400 Bad Request", Err(Failure::Status(400))),
        ("404 Not Found", Err(Failure::Status(404))),
        ("410 Gone", Err(Failure::Gone)),
        ("429 Too Many Requests", Err(Failure::Status(429))),
        ("500 Internal Server Error", Err(Failure::Status(500))),
        ("599 ?", Err(Failure::Status(599))),
    ] {
        assert_eq!(send_to(&Receiver::answering(head)).await.result, expected, "{head}");
    }
}

#[tokio::test]
async fn an_overloaded_receiver_is_left_alone_for_as_long_as_it_asks() {
    let busy = Receiver::answering("429 Too Many Requests\r\nretry-after: 90");
    let attempt = send_to(&busy).await;
    let Outcome::Retry { after, reason } = RetrySchedule::standard().judge("msg_1", 1, &attempt)
    else {
        panic!("{attempt:?}")
    };
    assert_eq!((after, reason), (Duration::from_secs(90), Failure::Status(429)));
    let date = "503 Service Unavailable\r\nretry-after: Wed, 01 Jan 3000 00:00:00 GMT";
    let asked = send_to(&Receiver::answering(date)).await.retry_after;
    assert!(asked > Some(Duration::from_secs(86_400)), "{asked:?}");
    let elsewhere = "500 Internal Server Error\r\nretry-after: 90";
    assert_eq!(send_to(&Receiver::answering(elsewhere)).await.retry_after, None);
}

#[tokio::test]
async fn an_unreachable_receiver_is_a_failure_without_the_url() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let client = WebhookClient::new(local(port)).unwrap();
    let endpoint = client.check(&format!("http://127.0.0.1:{port}/?token=hidden")).await.unwrap();
    let attempt = client.send(&endpoint, &[secret()], &message()).await;
    assert!(matches!(attempt.result, Err(Failure::Unreachable(_))), "{attempt:?}");
    assert!(!format!("{attempt:?}").contains("hidden"));
}
