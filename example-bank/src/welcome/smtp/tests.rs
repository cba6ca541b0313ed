//! Tests of the mailer beside a small SMTP server that accepts, refuses, hangs, or loses its reply.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actum::store::MemoryStore;
use actum::{Application, HandlerSettings, StartPosition, StreamVersion};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::SmtpMailer;
use crate::account::{Account, AccountCommand};
use crate::welcome::WelcomeMail;

/// An SMTP server (RFC 5321). The name of the recipient says how it behaves: `refused` is unknown,
/// `hangs` gets no reply, and the first mail to `again` is received without a reply.
#[derive(Default)]
struct Server {
    /// Mails as they were received, by recipient.
    mails: Mutex<HashMap<String, Vec<String>>>,
    /// Requires a login, and refuses it.
    refuses_login: bool,
}

impl Server {
    async fn start(self) -> (Arc<Self>, String) {
        let (server, listener) = (Arc::new(self), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap().to_string();
        let serves = Arc::clone(&server);
        actix_web::rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = Arc::clone(&serves);
                actix_web::rt::spawn(async move { server.converse(BufReader::new(stream)).await });
            }
        });
        (server, address)
    }

    async fn converse(&self, mut stream: BufReader<TcpStream>) -> std::io::Result<()> {
        stream.write_all(b"220 mail.example\r\n").await?;
        let mut recipient = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let reply = match line.split([' ', '\r']).next().unwrap() {
                "EHLO" if self.refuses_login => "250-mail.example\r\n250 AUTH PLAIN",
                "AUTH" => "535 the credentials are invalid",
                "RCPT" => {
                    let name = line.split_once('<').unwrap().1.split_once('@').unwrap().0;
                    name.clone_into(&mut recipient);
                    match name {
                        "hangs" => return std::future::pending().await,
                        "refused" => "550 no such mailbox",
                        _ => "250 ok",
                    }
                }
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await?;
                    let mut mail = String::new();
                    while !mail.ends_with("\r\n.\r\n") {
                        stream.read_line(&mut mail).await?;
                    }
                    let mut mails = self.mails.lock().unwrap();
                    let received = mails.entry(recipient.clone()).or_default();
                    received.push(mail);
                    if recipient == "again" && received.len() == 1 {
                        return Ok(());
                    }
                    "250 received"
                }
                _ => "250 ok",
            };
            stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        }
    }

    /// The mails to a recipient, once there are so many.
    async fn once(&self, recipient: &str, number: usize) -> Vec<String> {
        for _ in 0..1_000 {
            let mails = self.mails.lock().unwrap().get(recipient).cloned().unwrap_or_default();
            if mails.len() >= number {
                return mails;
            }
            actix_web::rt::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{recipient} got no {number} mails")
    }
}

/// A bank that sends its mails to this server.
async fn bank(url: String) -> Application {
    let mailer = SmtpMailer::new(&url.into(), "bank.example").unwrap();
    let (timeout, first_pause) = (Duration::from_millis(500), Duration::from_millis(10));
    let settings = HandlerSettings { timeout, attempts: 2, first_pause, ..Default::default() };
    let welcome = WelcomeMail::new(mailer).settings(settings);
    let bank = Application::builder(MemoryStore::new()).aggregate::<Account>();
    bank.event_handler(welcome, StartPosition::Now).start().await.unwrap()
}

async fn open(bank: &Application, owner: &str) {
    let (name, currency) = (owner.to_owned(), "EUR".to_owned());
    let open = AccountCommand::Open { owner: name, currency, number: None };
    bank.execute::<Account>(&owner.replace(' ', "-"), open).await.unwrap();
}

/// Keys that are parked, with the reason of each, once there are so many.
async fn parked(bank: &Application, number: usize) -> Vec<(String, String)> {
    for _ in 0..1_000 {
        let parked = bank.operations().parked("welcome_mail").await.unwrap();
        if parked.len() >= number {
            let mut parked: Vec<_> = parked.into_iter().map(|it| (it.key, it.reason)).collect();
            parked.sort_unstable();
            return parked;
        }
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no {number} keys are parked")
}

#[actix_web::test]
async fn a_mail_that_comes_again_has_the_id_of_its_event() {
    let (server, address) = Server::default().start().await;
    let bank = bank(format!("smtp://{address}")).await;
    open(&bank, "again").await;
    let opened = bank.history::<Account>("again", StreamVersion::ZERO, 1).await.unwrap();
    let mails = server.once("again", 2).await;
    for mail in &mails {
        for line in [
            &*format!("Message-ID: <{}@bank.example>", opened[0].event_id),
            "From: Bank <bank@bank.example>",
            "To: again <again@bank.example>",
            "Subject: Welcome",
            "Dear again, your account again is open.",
        ] {
            assert!(mail.lines().any(|it| it == line), "{line} is not in {mail}");
        }
    }
    bank.shutdown().await;
}

#[actix_web::test]
async fn what_cannot_be_delivered_parks_its_key_and_no_other() {
    let (server, address) = Server::default().start().await;
    let bank = bank(format!("smtp://{address}")).await;
    for owner in ["hangs", "refused", "Ada Lovelace", "bob"] {
        open(&bank, owner).await;
    }
    assert!(server.once("bob", 1).await[0].contains("Dear bob"));
    let parked = parked(&bank, 3).await;
    for (parked, (key, reason)) in parked.iter().zip([
        ("Ada-Lovelace", "\"Ada Lovelace\" cannot be a mailbox of bank.example"),
        ("hangs", "500"),
        ("refused", "permanent error (550): no such mailbox"),
    ]) {
        assert!(parked.0 == key && parked.1.contains(reason), "{parked:?}");
    }
    open(&bank, "eve").await;
    server.once("eve", 1).await;
    bank.shutdown().await;
}

#[actix_web::test]
async fn no_password_is_shown_when_a_login_is_refused() {
    let server = Server { refuses_login: true, ..Server::default() };
    let (_, address) = server.start().await;
    let bank = bank(format!("smtp://bank:s3cret@{address}")).await;
    open(&bank, "ada").await;
    let parked = parked(&bank, 1).await;
    assert!(parked[0].1.contains("535"), "{parked:?}");
    let status = serde_json::to_string(&bank.operations().status().await).unwrap();
    // Neither as it is, nor as it goes over the wire.
    for secret in ["s3cret", "AGJhbmsAczNjcmV0"] {
        assert!(!format!("{parked:?}{status}").contains(secret), "{parked:?} {status}");
    }
    bank.shutdown().await;
}

#[test]
fn a_url_or_a_domain_that_cannot_work_is_refused() {
    for (url, domain) in [
        ("http://127.0.0.1", "bank.example"),
        ("smtp://bank:s3cret@127.0.0.1:x", "bank.example"),
        ("smtp://bank:s3cret@127.0.0.1?tls=perhaps", "bank.example"),
        ("smtp://127.0.0.1", "not a domain"),
        ("smtp://127.0.0.1", ""),
    ] {
        let refused = SmtpMailer::new(&url.to_owned().into(), domain).err();
        let refused = refused.unwrap_or_else(|| panic!("{url} {domain}")).to_string();
        assert!(!refused.contains("s3cret"), "{refused}");
    }
    for url in ["smtp://localhost", "smtp://a:b@localhost?tls=required", "smtps://a:b@localhost"] {
        SmtpMailer::new(&url.to_owned().into(), "bank.example").unwrap();
    }
}
