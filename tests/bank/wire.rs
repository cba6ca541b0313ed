//! The bank's wire format, as its clients see it: every route, every status, every promise about a
//! retry. The routes are called without a socket, on a file.
//!
//! What malformed and hostile input gets is in `input.rs`.

use actix_web::rt;
use actix_web::test::TestRequest;
use actum::Application;
use serde_json::{Value, json};

use crate::support::bank::{
    Answer, Bank, bank_with_account, fresh_store, get, new_bank, post, post_keyed, send,
};

async fn put(bank: &Application, path: &str, body: Value) -> Answer {
    send(bank, TestRequest::put().uri(path).set_json(body)).await
}

#[actix_web::test]
async fn an_account_lives_through_all_its_routes() {
    let bank = new_bank().await;
    let opening = json!({ "id": "42", "owner": "Ada", "currency": "EUR" });
    let opened = post(&bank, "/accounts", opening).await;
    opened.is(201, json!({ "id": "42", "version": 1, "position": 1 }));
    assert_eq!(opened.header("location"), Some("/accounts/42"));
    post(&bank, "/accounts/42/credit", json!({ "amount": 1250 }))
        .await
        .is(200, json!({ "id": "42", "version": 2, "position": 2 }));
    put(&bank, "/accounts/42/credit-limit", json!({ "limit": 50000 }))
        .await
        .is(200, json!({ "id": "42", "version": 3, "position": 3 }));
    post(&bank, "/accounts/42/withdraw", json!({ "amount": 2000 }))
        .await
        .is(200, json!({ "id": "42", "version": 4, "position": 4 }));

    for path in ["", "/balance"] {
        get(&bank, &format!("/accounts/42{path}?after=4")).await.is(200, json!({
            "id": "42", "balance": -750, "currency": "EUR", "status": "open", "version": 4, "position": 4
        }));
    }
    get(&bank, "/accounts/42/credit-limit?after=4").await.is(
        200,
        json!({
            "id": "42", "granted": 50000, "used": 750, "available": 49250, "version": 4,
            "position": 4
        }),
    );

    for (path, status, position) in
        [("freeze", "frozen", 5), ("unfreeze", "open", 6), ("close", "closed", 8)]
    {
        if path == "close" {
            post(&bank, "/accounts/42/credit", json!({ "amount": 750 })).await;
        }
        send(&bank, TestRequest::post().uri(&format!("/accounts/42/{path}")))
            .await
            .is(200, json!({ "id": "42", "version": position, "position": position }));
        let balance = get(&bank, &format!("/accounts/42/balance?after={position}")).await.json();
        assert_eq!(balance["status"], status);
    }
}

#[actix_web::test]
async fn a_read_with_after_sees_what_was_written() {
    let bank = bank_with_account().await;
    for n in 1..=50 {
        let credited = post(&bank, "/accounts/42/credit", json!({ "amount": 1 })).await.json();
        let after = credited["position"].as_u64().unwrap();
        let balance = get(&bank, &format!("/accounts/42/balance?after={after}")).await.json();
        assert_eq!(balance["balance"], n);
        assert!(balance["position"].as_u64().unwrap() >= after);
    }
}

#[actix_web::test]
async fn a_read_says_so_when_its_position_does_not_come() {
    let settings = actum::Settings {
        read_within: std::time::Duration::from_millis(20),
        ..actum::Settings::default()
    };
    let (directory, store) = fresh_store().await;
    let bank = Bank::start(example_bank::application(store).settings(settings), directory).await;
    post(&bank, "/accounts", json!({ "id": "42", "owner": "Ada", "currency": "EUR" })).await;
    for path in ["balance", "credit-limit", "statement"] {
        let late = get(&bank, &format!("/accounts/42/{path}?after=1000")).await;
        late.is_problem(504, "not_yet");
        assert_eq!((&late.json()["wanted"], &late.json()["reached"]), (&json!(1000), &json!(1)));
    }
}

#[actix_web::test]
async fn a_read_says_how_fresh_it_is_and_waits_no_longer_than_asked() {
    let bank = bank_with_account().await;
    post(&bank, "/accounts", json!({ "id": "43", "owner": "Bob", "currency": "EUR" })).await;
    for path in ["", "/balance", "/credit-limit"] {
        let path = format!("/accounts/42{path}");
        let answer = get(&bank, &format!("{path}?after=2&within=60000")).await;
        assert_eq!((answer.status.as_u16(), answer.header("actum-position")), (200, Some("2")));
        assert_eq!(answer.json()["position"], 2);
        // The log does not have this position, so nothing waits for it, however long it might.
        let late = get(&bank, &format!("{path}?within=60000&after=3")).await;
        late.is_problem(504, "not_yet");
        assert_eq!((&late.json()["wanted"], &late.json()["reached"]), (&json!(3), &json!(2)));
        let detail = late.json()["detail"].to_string();
        assert!(detail.contains("after 0ns"), "{detail}");
        for query in ["within=0", "within=-1", "within=x", "within=", "after=x", "before=1"] {
            get(&bank, &format!("{path}?{query}")).await.is_problem(400, "invalid_query");
        }
    }
}

#[actix_web::test]
async fn history_is_paged_and_says_where_to_continue() {
    let bank = bank_with_account().await;
    for amount in 1..=4 {
        post(&bank, "/accounts/42/credit", json!({ "amount": amount })).await;
    }
    let first = get(&bank, "/accounts/42/history?limit=2").await;
    assert_eq!(first.status, 200);
    let first = first.json();
    assert_eq!(first["next"], 2);
    let (opened, credited) = (&first["events"][0], &first["events"][1]);
    assert_eq!(opened["type"], "Opened");
    assert_eq!(opened["data"], json!({ "owner": "Ada", "currency": "EUR" }));
    assert_eq!((&opened["version"], &opened["position"]), (&json!(1), &json!(1)));
    assert_eq!(credited["data"], json!({ "amount": 1 }));
    let recorded_at = opened["recorded_at"].as_str().unwrap();
    assert!(recorded_at.starts_with("20") && recorded_at.ends_with('Z'), "{recorded_at}");

    let rest = get(&bank, "/accounts/42/history?after=2&limit=3").await.json();
    assert_eq!(rest["events"].as_array().unwrap().len(), 3);
    assert_eq!(rest["events"][2]["data"], json!({ "amount": 4 }));
    assert_eq!(rest["next"], Value::Null);
    get(&bank, "/accounts/42/history?after=5").await.is(200, json!({ "events": [], "next": null }));
    for limit in ["0", "501", "-1", "many"] {
        let path = format!("/accounts/42/history?limit={limit}");
        get(&bank, &path).await.is_problem(400, "invalid_query");
    }
}

#[actix_web::test]
async fn the_default_page_of_a_history_has_50_events() {
    let bank = bank_with_account().await;
    for _ in 0..60 {
        post(&bank, "/accounts/42/credit", json!({ "amount": 1 })).await;
    }
    let page = get(&bank, "/accounts/42/history").await.json();
    assert_eq!((page["events"].as_array().unwrap().len(), &page["next"]), (50, &json!(50)));
}

#[actix_web::test]
async fn an_account_nobody_opened_is_unknown_everywhere() {
    let bank = new_bank().await;
    for path in ["credit", "withdraw"] {
        let path = format!("/accounts/nobody/{path}");
        post(&bank, &path, json!({ "amount": 1 })).await.is_problem(404, "unknown_account");
    }
    for path in ["freeze", "unfreeze", "close"] {
        let request = TestRequest::post().uri(&format!("/accounts/nobody/{path}"));
        send(&bank, request).await.is_problem(404, "unknown_account");
    }
    let limit = json!({ "limit": 1 });
    put(&bank, "/accounts/nobody/credit-limit", limit).await.is_problem(404, "unknown_account");
    for path in ["", "/balance", "/credit-limit", "/history", "/history?after=7"] {
        let path = format!("/accounts/nobody{path}");
        get(&bank, &path).await.is_problem(404, "unknown_account");
    }
}

#[actix_web::test]
async fn a_refusal_is_a_problem_with_its_code_and_changes_nothing() {
    let bank = bank_with_account().await;
    let again = json!({ "id": "42", "owner": "Bob", "currency": "EUR" });
    post(&bank, "/accounts", again).await.is_problem(422, "already_open");
    let credit = json!({ "amount": 5 });
    post(&bank, "/accounts/42/withdraw", credit).await.is_problem(422, "insufficient_funds");
    let bad = json!({ "owner": "", "currency": "EUR" });
    post(&bank, "/accounts", bad).await.is_problem(422, "invalid_owner");
    let bad = json!({ "owner": "Ada", "currency": "euro" });
    post(&bank, "/accounts", bad).await.is_problem(422, "invalid_currency");
    send(&bank, TestRequest::post().uri("/accounts/42/freeze")).await;
    let one = json!({ "amount": 1 });
    post(&bank, "/accounts/42/withdraw", one.clone()).await.is_problem(422, "frozen");
    send(&bank, TestRequest::post().uri("/accounts/42/close")).await;
    post(&bank, "/accounts/42/credit", one).await.is_problem(422, "closed");
    let history = get(&bank, "/accounts/42/history").await.json();
    let types: Vec<_> = history["events"].as_array().unwrap().iter().map(|e| &e["type"]).collect();
    assert_eq!(types, ["Opened", "Frozen", "Closed"]);
}

#[actix_web::test]
async fn a_command_sent_again_with_its_key_is_carried_out_once() {
    let bank = bank_with_account().await;
    let first =
        post_keyed(&bank, "/accounts/42/credit", "pay-1", json!({ "amount": 100 })).await.json();
    post(&bank, "/accounts/42/credit", json!({ "amount": 1 })).await;
    // Another spacing of the same body is the same request.
    let retry = TestRequest::post()
        .uri("/accounts/42/credit")
        .insert_header(("idempotency-key", "pay-1"))
        .insert_header(("content-type", "application/json"))
        .set_payload("{ \"amount\"\n: 100 }");
    send(&bank, retry).await.is(200, first);
    let balance = get(&bank, "/accounts/42/balance?after=3").await.json();
    assert_eq!(balance["balance"], 101);
}

#[actix_web::test]
async fn a_key_used_for_another_request_is_refused() {
    let bank = bank_with_account().await;
    post(&bank, "/accounts", json!({ "id": "43", "owner": "Bob", "currency": "EUR" })).await;
    let amount = json!({ "amount": 100 });
    assert_eq!(post_keyed(&bank, "/accounts/42/credit", "k", amount.clone()).await.status, 200);
    let others = [
        ("/accounts/42/credit", json!({ "amount": 101 })),
        ("/accounts/42/withdraw", amount.clone()),
        ("/accounts/43/credit", amount),
    ];
    for (path, body) in others {
        post_keyed(&bank, path, "k", body).await.is_problem(422, "idempotency_key_reused");
    }
    let balance = get(&bank, "/accounts/42/balance?after=3").await.json();
    assert_eq!(balance["balance"], 100);
}

#[actix_web::test]
async fn an_opening_without_id_names_the_same_account_when_sent_again() {
    let bank = new_bank().await;
    let opening = json!({ "owner": "Ada", "currency": "EUR" });
    let first = post_keyed(&bank, "/accounts", "open-1", opening.clone()).await;
    let again = post_keyed(&bank, "/accounts", "open-1", opening.clone()).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert_eq!(first.json(), again.json());
    assert_eq!(first.header("location"), again.header("location"));

    let other = post_keyed(&bank, "/accounts", "open-2", opening.clone()).await.json();
    let unnamed = post(&bank, "/accounts", opening.clone()).await.json();
    let unnamed_too = post(&bank, "/accounts", opening).await.json();
    let ids = [first.json(), other, unnamed, unnamed_too].map(|answer| answer["id"].to_string());
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 4, "{ids:?}");
}

#[actix_web::test]
async fn a_key_has_1_to_255_bytes_of_any_kind() {
    let bank = bank_with_account().await;
    let amount = || json!({ "amount": 1 });
    for key in ["k", " a key, with \"signs\" ' ; -- ", "ключ-🔑", &"x".repeat(255)] {
        let answer = post_keyed(&bank, "/accounts/42/credit", key, amount()).await;
        assert_eq!(answer.status, 200, "{key}: {answer:?}");
    }
    for key in ["", &"x".repeat(256)] {
        let answer = post_keyed(&bank, "/accounts/42/credit", key, amount()).await;
        answer.is_problem(400, "invalid_idempotency_key");
    }
}

#[actix_web::test]
async fn two_withdrawals_at_once_do_not_both_take_the_last_coin() {
    let bank = bank_with_account().await;
    post(&bank, "/accounts/42/credit", json!({ "amount": 10 })).await;
    let withdrawals: Vec<_> = (0..20)
        .map(|_| {
            let bank = bank.clone();
            rt::spawn(async move {
                post(&bank, "/accounts/42/withdraw", json!({ "amount": 3 })).await.status.as_u16()
            })
        })
        .collect();
    let mut paid = 0;
    for withdrawal in withdrawals {
        match withdrawal.await.unwrap() {
            200 => paid += 1,
            status => assert_eq!(status, 422),
        }
    }
    assert_eq!(paid, 3);
}

#[actix_web::test]
async fn health_tells_living_from_ready() {
    let bank = bank_with_account().await;
    get(&bank, "/health/live").await.is(200, json!({ "status": "live" }));
    get(&bank, "/accounts/42/balance?after=1").await;
    get(&bank, "/accounts/42/credit-limit?after=1").await;
    get(&bank, "/health/ready").await.is(200, json!({ "status": "ready" }));
    bank.shutdown().await;
    get(&bank, "/health/live").await.is(200, json!({ "status": "live" }));
    get(&bank, "/health/ready").await.is_problem(503, "not_ready");
    let one = json!({ "amount": 1 });
    post(&bank, "/accounts/42/credit", one).await.is_problem(503, "stopping");
}
