//! A canary on loopback that is never called, whatever URL a stranger registers and whatever the
//! name server answers.

use std::io;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use actum::webhook::{Failure, ForbiddenAddress, Resolver, WebhookClient, WebhookOptions};
use async_trait::async_trait;

use super::{local, message, secret};
use crate::support::receiver::Receiver;

/// Resolves to a public address first, and to this one from then on.
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

/// This machine, in every spelling that some layer above the socket might understand.
const LOOPBACK: [&str; 22] = [
    "127.0.0.1",
    "127.1",
    "127.255.255.254",
    "0x7f.1",
    "0x7F000001",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "%31%32%37.0.0.1",
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "0",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
];

#[tokio::test]
async fn no_spelling_of_this_machine_reaches_it() {
    let canary = Receiver::answering("200 OK");
    let strict = WebhookClient::new(strict(&canary)).unwrap();
    let anywhere = |network: &str| network.parse().expect("a network");
    let lax = local(canary.port).allow_private_network(anywhere("0.0.0.0/0"));
    let lax = WebhookClient::new(lax.allow_private_network(anywhere("::/0"))).unwrap();
    let mut reached = 0;
    for host in LOOPBACK {
        let url = format!("http://{host}:{}/", canary.port);
        let refused = strict.check(&url).await;
        assert!(matches!(refused, Err(ForbiddenAddress::NotPublic(_))), "{url}: {refused:?}");
        let endpoint = lax.endpoint(&url).expect(&url);
        let attempt = strict.send(&endpoint, &[secret()], &message()).await;
        assert!(matches!(attempt.result, Err(Failure::Forbidden(_))), "{url}: {attempt:?}");
        assert_eq!(canary.connections(), reached, "{url}");
        // The canary does hear an allowed client, so its silence means something.
        lax.send(&endpoint, &[secret()], &message()).await;
        reached = canary.connections();
    }
    assert!(reached >= 13, "only {reached} of them lead here at all");
}

#[test]
fn a_proxy_of_the_environment_is_not_asked() {
    let canary = Receiver::answering("200 OK");
    let proxy = format!("http://127.0.0.1:{}", canary.port);
    let names =
        ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let again = "deferred::webhook::delivery::a_message_arrives_once_and_its_signature_verifies";
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", again])
        .envs(names.map(|name| (name, &proxy)))
        .output()
        .expect("the same tests again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}");
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
