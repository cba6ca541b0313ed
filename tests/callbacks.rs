//! Callbacks to many endpoints: one that hangs or fails delays its own messages and no others.

use std::io::Write;
use std::time::Duration;

use actum::webhook::{RetrySchedule, Secret, WebhookClient, WebhookOptions};
use actum::{Application, CallbackState, CommandOptions, CommandStatus, MemoryStore, Metadata};

use crate::counter::{Ask, Counter};
use crate::webhook::receiver::Receiver;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// An application that may call these receivers, and gives each of them a minute to answer.
async fn calling(receivers: &[&Receiver]) -> Application {
    let loopback = "127.0.0.0/8".parse().unwrap();
    let mut options = WebhookOptions::default().allow_http().allow_private_network(loopback);
    for receiver in receivers {
        options = options.allow_port(receiver.port);
    }
    let client = WebhookClient::new(options.answer_within(Duration::from_secs(60))).unwrap();
    let secret: Secret = SECRET.parse().unwrap();
    let builder = Application::builder(MemoryStore::new()).aggregate::<Counter>();
    let builder = builder.answers_later::<Counter>();
    let schedule = RetrySchedule { jitter: 0.0, ..RetrySchedule::standard() };
    builder.calls_back(client, schedule, move |_, _| secret.clone()).start().await.unwrap()
}

/// A receiver that accepts connections and never answers.
fn hangs() -> Receiver {
    Receiver::start(|stream| std::io::copy(stream, &mut std::io::sink()).map(|_| ()))
}

/// A command of this client, whose outcome is sent to this receiver.
async fn send(app: &Application, client: &str, to: &Receiver) -> String {
    let metadata = Metadata { actor: Some(client.to_owned()), ..Metadata::default() };
    let options = CommandOptions { metadata, ..CommandOptions::default() };
    let id = app.execute_later::<Counter>(client, &Ask::Add(1), options, Some(to.url())).await;
    id.unwrap().to_string()
}

/// The status of a command, once this holds of it.
async fn status(
    app: &Application,
    id: &str,
    holds: impl Fn(&CommandStatus) -> bool,
) -> CommandStatus {
    let look = async {
        loop {
            let status = app.command(id).await.unwrap();
            if holds(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(50), look).await.expect("it does not come to that")
}

fn is_delivered(status: &CommandStatus) -> bool {
    status.callback.as_ref().is_some_and(|callback| callback.status == CallbackState::Delivered)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_delays_no_other() {
    let (dead, good) = (hangs(), Receiver::answering("204 No Content"));
    let app = calling(&[&dead, &good]).await;
    let mut waiting = Vec::new();
    for _ in 0..300 {
        waiting.push(send(&app, "mallory", &dead).await);
    }
    for _ in 0..5 {
        let id = send(&app, "ada", &good).await;
        status(&app, &id, is_delivered).await;
    }
    assert!(dead.connections() <= 1, "{} calls to one that hangs", dead.connections());
    let first = app.command(&waiting[0]).await.unwrap().callback.unwrap();
    assert_eq!((first.status, first.attempts), (CallbackState::Due, 0));
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_many_endpoints_that_hang_delay_no_other() {
    let dead: Vec<_> = (0..20).map(|_| hangs()).collect();
    let good = Receiver::answering("204 No Content");
    let app = calling(&dead.iter().chain([&good]).collect::<Vec<_>>()).await;
    for round in 0..3 {
        for dead in &dead {
            for client in ["mallory", "trudy"] {
                send(&app, client, dead).await;
            }
        }
        let id = send(&app, &format!("ada{round}"), &good).await;
        status(&app, &id, is_delivered).await;
    }
    let calls: usize = dead.iter().map(Receiver::connections).sum();
    assert!(calls <= 16, "{calls} calls of two clients at a time");
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_is_tried_with_one_message_and_not_with_all() {
    let (dead, good) = (Receiver::answering("503 Service Unavailable"), hangs());
    let app = calling(&[&dead, &good]).await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(send(&app, "mallory", &dead).await);
    }
    let tried = |status: &CommandStatus| {
        status.callback.as_ref().is_some_and(|callback| callback.attempts > 0)
    };
    let first = status(&app, &ids[0], tried).await;
    assert_eq!(first.callback.unwrap().last_error.unwrap(), "answered with status 503");
    // Its first pause is five seconds; by then the last of them has been accepted and concluded.
    status(&app, &ids[99], |status| status.state.name() == "committed").await;
    assert!(dead.requests().len() <= 10, "{} calls", dead.requests().len());
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_works_is_sent_everything() {
    let good = Receiver::start(|stream| {
        write!(stream, "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    });
    let app = calling(&[&good]).await;
    let mut ids = Vec::new();
    for n in 0..60 {
        ids.push(send(&app, &format!("client{}", n % 3), &good).await);
    }
    for id in &ids {
        status(&app, id, is_delivered).await;
    }
    assert_eq!(good.requests().len(), ids.len());
    app.shutdown().await;
}
