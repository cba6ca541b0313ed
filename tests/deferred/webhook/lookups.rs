//! Name look-ups: a client with dead names uses up its own places only, not those of other clients
//! or of calls.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actum::webhook::{Failure, ForbiddenAddress, Resolver, WebhookClient};
use async_trait::async_trait;

use super::{local, message, secret};
use crate::support::receiver::Receiver;

/// Never answers for names that begin with `dead`; all others lead to loopback.
struct Patchy {
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Resolver for Patchy {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if name.starts_with("dead") {
            self.asked.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        Ok(vec![[127, 0, 0, 1].into()])
    }
}

fn client(port: u16) -> (WebhookClient, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let options = local(port).connect_within(Duration::from_millis(50));
    let options = options.resolver(Patchy { asked: asked.clone() });
    (WebhookClient::new(options).expect("a client"), asked)
}

#[tokio::test]
async fn dead_names_of_one_client_take_its_own_places_only() {
    let receiver = Receiver::answering("204 No Content");
    let port = receiver.port;
    let (client, asked) = client(port);
    let (mallory, ada) = (client.on_behalf_of("mallory"), client.on_behalf_of("ada"));
    let mut busy = 0;
    for n in 0..200 {
        match mallory.check(&format!("http://dead{n}.example:{port}/")).await {
            Err(ForbiddenAddress::Unresolved) => {}
            Err(ForbiddenAddress::Busy) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked <= 8 && busy == 200 - asked, "{asked} look-ups, {busy} refused");
    let good = format!("http://good.example:{port}/");
    assert_eq!(mallory.check(&good).await, Err(ForbiddenAddress::Busy), "it is not judged wrong");
    ada.check(&good).await.expect("others have places");
}

#[tokio::test]
async fn calls_have_places_apart_from_registrations_and_from_other_clients() {
    let receiver = Receiver::answering("204 No Content");
    let port = receiver.port;
    let (client, _) = client(port);
    let url = |name: &str| format!("http://{name}.example:{port}/");
    // Registrations of many clients take all the places that there are for registrations.
    for n in 0..200 {
        let _ = client.on_behalf_of(&format!("m{n}")).check(&url(&format!("dead{n}"))).await;
    }
    let ada = client.on_behalf_of("ada");
    assert_eq!(ada.check(&url("good")).await, Err(ForbiddenAddress::Busy));
    let endpoint = ada.endpoint(&url("good")).expect("allowed");
    assert_eq!(ada.send(&endpoint, &[secret()], &message()).await.result, Ok(204));
    // Calls to dead names of one client: its own next look-up is refused, and no other client's.
    let mallory = client.on_behalf_of("mallory");
    let mut results = Vec::new();
    for n in 0..12 {
        let dead = mallory.endpoint(&url(&format!("dead{n}"))).expect("allowed");
        results.push(mallory.send(&dead, &[secret()], &message()).await.result);
    }
    let busy = Err(Failure::Forbidden(ForbiddenAddress::Busy));
    assert_eq!(results.iter().filter(|result| **result == busy).count(), 4, "{results:?}");
    assert_eq!(ada.send(&endpoint, &[secret()], &message()).await.result, Ok(204));
}
