//! People and transfers: each side sees what concerns it, and nobody else sees anything.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::{Doorkeeper, claims, send_by, signed};
use crate::support::bank::{new_bank, post};
use crate::support::waiting::until;

fn person(name: &str) -> String {
    let mut claims = claims("accounts:read accounts:write");
    claims["sub"] = json!(name);
    signed(&claims)
}

#[actix_web::test]
async fn people_see_the_transfers_of_their_own_accounts() {
    let (bank, doorkeeper) = (new_bank().await, Doorkeeper::new());
    let access = doorkeeper.open();
    for owner in ["ada", "bob"] {
        let opening = json!({ "id": owner, "owner": owner, "currency": "EUR" });
        assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    }
    post(&bank, "/accounts/ada/credit", json!({ "amount": 50 })).await;
    let by = async |name: &str, request: TestRequest| {
        let bearer = format!("Bearer {}", person(name));
        send_by(&bank, &access, request.insert_header(("authorization", bearer))).await
    };
    let request = async |name: &str, amount: u64| {
        let body = json!({ "from": "ada", "to": "bob", "amount": amount });
        let answer = by(name, TestRequest::post().uri("/transfers").set_json(body)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.header("location").unwrap().to_owned()
    };
    let read = async |name: &str, location: &str| -> (u16, Value) {
        let answer = by(name, TestRequest::get().uri(location)).await;
        (answer.status.as_u16(), answer.json())
    };
    let [paid, too_much, others] =
        [request("ada", 30).await, request("ada", 40).await, request("bob", 1).await];
    for (location, end) in [(&paid, "completed"), (&too_much, "failed"), (&others, "failed")] {
        until(async || read("ada", location).await.1["status"] == end).await;
        assert_eq!(read("bob", location).await.1["status"], end);
        let (status, problem) = read("eve", location).await;
        assert_eq!((status, &problem["code"]), (404, &json!("unknown_transfer")));
        // Ada would get a stream without an end.
        let events = format!("{location}/events");
        for other in ["bob", "eve"] {
            let refused = by(other, TestRequest::get().uri(&events)).await;
            refused.is_problem(404, "unknown_transfer");
        }
        let approve = TestRequest::post().uri(&format!("{location}/approve"));
        by("ada", approve).await.is_problem(403, "forbidden");
    }
    // The reason tells the balance of the payer.
    assert_eq!(read("ada", &too_much).await.1["reason"]["detail"], "only 20 can be withdrawn");
    assert_eq!(read("bob", &too_much).await.1["reason"], Value::Null);
    // To others an account is one that does not exist.
    assert_eq!(read("ada", &others).await.1["reason"]["code"], "unknown_account");
}

#[actix_web::test]
async fn people_order_and_cancel_for_their_own_accounts() {
    let (bank, doorkeeper) = (new_bank().await, Doorkeeper::new());
    let access = doorkeeper.open();
    for owner in ["ada", "bob"] {
        let opening = json!({ "id": owner, "owner": owner, "currency": "EUR" });
        assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    }
    let by = async |name: &str, request: TestRequest| {
        let bearer = format!("Bearer {}", person(name));
        send_by(&bank, &access, request.insert_header(("authorization", bearer))).await
    };
    let place = || {
        let body = json!({ "from": "ada", "to": "bob", "amount": 30, "day": 1 });
        TestRequest::post().uri("/standing-orders").set_json(body)
    };
    by("bob", place()).await.is_problem(404, "unknown_account");
    let placed = by("ada", place()).await;
    assert_eq!(placed.status, 201, "{placed:?}");
    let location = placed.header("location").unwrap();
    let read = || TestRequest::get().uri(location);
    until(async || by("ada", read()).await.status == 200).await;
    let cancel = || TestRequest::post().uri(&format!("{location}/cancel"));
    for other in ["bob", "eve"] {
        by(other, read()).await.is_problem(404, "unknown_standing_order");
        by(other, cancel()).await.is_problem(404, "unknown_standing_order");
    }
    assert_eq!(by("ada", cancel()).await.status, 200);
    until(async || by("ada", read()).await.json()["status"] == "cancelled").await;
}
