//! TLS: only to servers whose certificate has the name and a trusted issuer.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use actum::webhook::{Attempt, Failure, WebhookClient, WebhookOptions};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{local, message, secret};
use crate::support::certificate::certify;
use crate::support::directory::Directory;
use crate::support::receiver::Receiver;

/// Answers 200 to every client that gets through to it, with this certificate.
fn serve((certificate, key): &(PathBuf, PathBuf)) -> Receiver {
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    Receiver::raw(move |stream| {
        let connection = ServerConnection::new(config.clone()).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        let mut head = Vec::new();
        while !head.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        stream.conn.send_close_notify();
        stream.flush()
    })
}

async fn send(options: WebhookOptions, receiver: &Receiver) -> Attempt {
    let client = WebhookClient::new(options).expect("a client");
    let url = format!("https://127.0.0.1:{}/hook", receiver.port);
    let endpoint = client.check(&url).await.expect("allowed");
    client.send(&endpoint, &[secret()], &message()).await
}

fn assert_refused(attempt: &Attempt) {
    let Err(Failure::Unreachable(reason)) = &attempt.result else { panic!("{attempt:?}") };
    assert!(reason.contains("certificate"), "{reason}");
}

#[tokio::test]
async fn only_a_certificate_that_is_trusted_and_fits_is_spoken_to() {
    let directory = Directory::new();
    let ours = certify(directory.path(), "ours", "IP:127.0.0.1");
    let others = certify(directory.path(), "others", "IP:127.0.0.1");
    let elsewhere = certify(directory.path(), "elsewhere", "DNS:elsewhere.example");
    let trusting = |port, (certificate, _): &(PathBuf, PathBuf)| {
        local(port).trust_certificates(&fs::read_to_string(certificate).unwrap())
    };

    let receiver = serve(&ours);
    assert_eq!(send(trusting(receiver.port, &ours), &receiver).await.result, Ok(200));
    assert_refused(&send(local(receiver.port), &receiver).await);
    assert_refused(&send(trusting(receiver.port, &others), &receiver).await);
    let receiver = serve(&elsewhere);
    assert_refused(&send(trusting(receiver.port, &elsewhere), &receiver).await);
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_in_the_clear() {
    let plain = Receiver::answering("200 OK");
    let attempt = send(local(plain.port), &plain).await;
    assert!(matches!(attempt.result, Err(Failure::Unreachable(_))), "{attempt:?}");
    assert!(plain.requests().iter().all(|request| !request.head.contains("POST")));
    let hangs = Receiver::raw(|stream| std::io::copy(stream, &mut std::io::sink()).map(|_| ()));
    assert_eq!(send(local(hangs.port), &hangs).await.result, Err(Failure::TimedOut));
}

#[test]
fn certificates_that_cannot_be_read_are_refused_by_name() {
    for text in
        ["", "no certificate", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"]
    {
        let refused = WebhookClient::new(WebhookOptions::default().trust_certificates(text));
        let refused = refused.expect_err("refused").to_string();
        assert!(refused.contains("certificate"), "{refused}");
    }
}
