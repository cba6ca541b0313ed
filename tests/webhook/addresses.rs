//! A canary on loopback that is never called, whatever a stranger writes or his name server says.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use actum::webhook::{Failure, ForbiddenAddress, Resolver, WebhookClient, WebhookOptions};
use async_trait::async_trait;

use super::receiver::Receiver;
use super::{local, message, secret};

/// Public when it is asked first, this one from then on.
struct Turncoat {
    asked: AtomicUsize,
    then: IpAddr,
}

#[async_trait]
impl Resolver for Turncoat {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let first = self.asked.fetch_add(1, Relaxed) == 0;
        Ok(vec![if first { IpAddr::from([8, 8, 8, 8]) } else { self.then }])
    }
}

/// Calls nothing but public addresses, on the canary's port too.
fn strict(canary: &Receiver) -> WebhookOptions {
    WebhookOptions::default().allow_http().allow_port(canary.port)
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_after_its_registration_gains_nothing() {
    let canary = Receiver::answering("200 OK");
    for then in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"] {
        let resolver = Turncoat { asked: AtomicUsize::new(0), then: then.parse().unwrap() };
        let client = WebhookClient::new(strict(&canary).resolver(resolver)).unwrap();
        let url = format!("http://hooks.example:{}/", canary.port);
        let endpoint = client.check(&url).await.expect("public at its registration");
        let attempt = client.send(&endpoint, &[secret()], &message()).await;
        assert!(
            matches!(attempt.result, Err(Failure::Forbidden(ForbiddenAddress::NotPublic(_)))),
            "{then}: {attempt:?}"
        );
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn an_endpoint_of_a_laxer_client_is_judged_again() {
    let canary = Receiver::answering("200 OK");
    let lax = WebhookClient::new(local(canary.port)).unwrap();
    let endpoint = lax.endpoint(&canary.url()).unwrap();
    let client = WebhookClient::new(strict(&canary)).unwrap();
    let attempt = client.send(&endpoint, &[secret()], &message()).await;
    let loopback = ForbiddenAddress::NotPublic("loopback");
    assert_eq!(attempt.result, Err(Failure::Forbidden(loopback)));
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn names_of_this_machine_are_refused_when_they_are_registered() {
    let canary = Receiver::answering("200 OK");
    let client = WebhookClient::new(strict(&canary)).unwrap();
    for host in ["localhost", "LOCALHOST", "localhost."] {
        let refused = client.check(&format!("http://{host}:{}/", canary.port)).await;
        let refused = refused.expect_err(host);
        let expected = [ForbiddenAddress::NotPublic("loopback"), ForbiddenAddress::Unresolved];
        assert!(expected.contains(&refused), "{host}: {refused}");
    }
    let refused = client.check("https://no-such-name.invalid/").await;
    assert_eq!(refused, Err(ForbiddenAddress::Unresolved));
    assert_eq!(canary.connections(), 0);
}
