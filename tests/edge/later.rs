//! A deferred command is visible to its sender only.

use std::time::Duration;

use actix_web::test::TestRequest;
use serde_json::json;

use super::{Doorkeeper, claims, lines, new_key, send_by, signed};
use crate::support::bank::{Answer, new_bank};

#[actix_web::test]
async fn a_deferred_command_is_visible_to_its_sender_and_to_operators_only() {
    let (doorkeeper, bank) = (Doorkeeper::new(), new_bank().await);
    let operator = new_key("operator", &["accounts:read", "bank:operate"]);
    let reader = new_key("reader", &["accounts:read"]);
    doorkeeper.write_keys(&lines(&[&operator, &reader]));
    let access = doorkeeper.open();
    let ada = signed(&claims("accounts:read accounts:write"));
    let mut bob = claims("accounts:read accounts:write");
    bob["sub"] = json!("bob");
    let bob = signed(&bob);
    let ask = async |who: &str, request: TestRequest| -> Answer {
        let request = request.insert_header(("authorization", format!("Bearer {who}")));
        send_by(&bank, &access, request).await
    };
    let opening = json!({ "id": "42", "owner": "ada", "currency": "EUR" });
    let opened = ask(&ada, TestRequest::post().uri("/accounts").set_json(opening)).await;
    assert_eq!(opened.status, 201);
    let credit = || {
        let credit = TestRequest::post().uri("/accounts/42/credit");
        let credit = credit.insert_header(("prefer", "respond-async"));
        credit.insert_header(("idempotency-key", "k")).set_json(json!({ "amount": 1 }))
    };
    let (adas, bobs) = (ask(&ada, credit()).await, ask(&bob, credit()).await);
    assert_eq!((adas.status.as_u16(), bobs.status.as_u16()), (202, 202));
    let (adas, bobs) = (adas.header("location").unwrap(), bobs.header("location").unwrap());
    assert_ne!(adas, bobs, "one key of two principals is one command");
    let status = async |who: &str, path: &str| loop {
        let answer = ask(who, TestRequest::get().uri(path)).await;
        match answer.status.as_u16() {
            200 if answer.json()["status"] == "accepted" => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            _ => return answer,
        }
    };
    assert_eq!(status(&ada, adas).await.json()["status"], "committed");
    assert_eq!(status(operator.key.expose(), adas).await.json()["status"], "committed");
    // The account is Ada's, so Bob does not find it.
    let refused = status(&bob, bobs).await.json();
    assert_eq!(
        (&refused["status"], &refused["code"]),
        (&json!("refused"), &json!("unknown_account"))
    );
    for who in [&*bob, reader.key.expose()] {
        for path in [adas.to_owned(), format!("{adas}/events")] {
            let answer = ask(who, TestRequest::get().uri(&path)).await;
            answer.is_problem(404, "unknown_command");
        }
    }
}
