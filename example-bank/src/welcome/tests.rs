//! Tests of the event handler `WelcomeMail`, with a mock of its mailer.

use std::sync::mpsc::channel;
use std::time::Duration;

use actum::store::MemoryStore;
use actum::{Application, StartPosition};

use super::{Mail, MockMailer, WelcomeMail};
use crate::account::{Account, AccountCommand::*};

#[actix_web::test]
async fn the_owner_of_a_new_account_is_welcomed_although_the_first_attempt_fails() {
    let (mut mailer, (send, sent)) = (MockMailer::new(), channel::<Mail>());
    mailer.expect_send().times(1).returning(|_| Err("the mail server is down".into()));
    mailer.expect_send().times(1).returning(move |mail| Ok(send.send(mail)?));
    let bank = Application::builder(MemoryStore::new()).aggregate::<Account>();
    let bank = bank.event_handler(WelcomeMail::new(mailer), StartPosition::Now);
    let bank = bank.start().await.unwrap();
    let open = Open { owner: "Ada".into(), currency: "EUR".into(), number: None };
    bank.execute::<Account>("42", open).await.unwrap();
    bank.execute::<Account>("42", Credit { amount: 5 }).await.unwrap();
    let mail = sent.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((&*mail.to, &*mail.subject), ("Ada", "Welcome"));
    assert_eq!(mail.body, "Dear Ada, your account 42 is open.");
    bank.shutdown().await;
}
