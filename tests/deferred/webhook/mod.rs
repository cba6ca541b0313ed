//! Signed calls to addresses that strangers registered, against servers that may do anything.

mod addresses;
mod delivery;
mod hostile;
mod lookups;
mod tls;

use std::time::Duration;

use actum::webhook::{Attempt, Message, Secret, WebhookClient, WebhookOptions};
use time::OffsetDateTime;

use crate::support::receiver::Receiver;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Options that allow loopback, with a short timeout.
fn local(port: u16) -> WebhookOptions {
    let loopback = "127.0.0.0/8".parse().expect("a network");
    let options = WebhookOptions::default().allow_http().allow_port(port);
    options.allow_private_network(loopback).answer_within(Duration::from_millis(500))
}

fn secret() -> Secret {
    SECRET.parse().expect("a secret")
}

fn message() -> Message {
    Message::new("msg_1", OffsetDateTime::now_utc(), r#"{"hello":"world"}"#).expect("a message")
}

/// One message to this receiver.
async fn send_to(receiver: &Receiver) -> Attempt {
    let client = WebhookClient::new(local(receiver.port)).expect("a client");
    let endpoint = client.check(&receiver.url()).await.expect("allowed");
    client.send(&endpoint, &[secret()], &message()).await
}
