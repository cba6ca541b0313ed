//! Preconditions and other request headers of a command, and the headers of the answer.

use actix_web::test::TestRequest;
use actum::{
    CommandError, CommandOptions, EventEnvelope, ExpectedVersion, Metadata, StreamVersion,
};
use example_bank::account::Account;
use serde_json::json;

use super::{are_one, is_replayed, request, send_as};
use crate::support::bank::{Answer, Bank, bank_with_account, get, new_bank, post};

const CREDIT: &str = "/accounts/42/credit";

async fn credit(bank: &Bank, headers: &[(&str, &str)]) -> Answer {
    send_as(bank, None, request(CREDIT, &json!({ "amount": 1 }), headers)).await
}

#[actix_web::test]
async fn every_answer_of_a_command_has_its_version_as_etag_and_its_position() {
    let bank = bank_with_account().await;
    let answer = credit(&bank, &[]).await;
    let headers =
        ["etag", "actum-position", "idempotency-replayed"].map(|name| answer.header(name));
    assert_eq!(headers, [Some("\"2\""), Some("2"), None]);
    post(&bank, "/accounts", json!({ "id": "43", "owner": "Bob", "currency": "EUR" })).await;
    let put = TestRequest::put().uri("/accounts/42/credit-limit").set_json(json!({ "limit": 9 }));
    let answer = send_as(&bank, None, put).await;
    assert_eq!(
        [answer.header("etag"), answer.header("actum-position")],
        [Some("\"3\""), Some("4")]
    );
    // Also for a command without events, and for one that created something.
    let nothing = send_as(&bank, None, TestRequest::post().uri("/accounts/42/unfreeze")).await;
    assert_eq!(
        [nothing.header("etag"), nothing.header("actum-position")],
        [Some("\"3\""), Some("4")]
    );
    let created = post(&bank, "/accounts", json!({ "owner": "Eve", "currency": "EUR" })).await;
    assert_eq!(
        [created.header("etag"), created.header("actum-position")],
        [Some("\"1\""), Some("5")]
    );
}

#[actix_web::test]
async fn a_command_is_carried_out_only_on_the_version_it_expects() {
    let bank = bank_with_account().await;
    assert_eq!(credit(&bank, &[("if-match", "\"1\"")]).await.status, 200);
    assert_eq!(credit(&bank, &[("if-match", "*")]).await.status, 200);
    for stale in ["\"1\"", "\"2\"", "\"4\"", "\"18446744073709551615\""] {
        let failed = credit(&bank, &[("if-match", stale)]).await;
        failed.is_problem(412, "precondition_failed");
        assert_eq!((&failed.json()["version"], failed.header("etag")), (&json!(3), Some("\"3\"")));
    }
    let failed = credit(&bank, &[("if-none-match", "*")]).await;
    failed.is_problem(412, "precondition_failed");
    let history = get(&bank, "/accounts/42/history").await.json();
    assert_eq!(history["events"].as_array().unwrap().len(), 3);
}

#[actix_web::test]
async fn an_account_is_opened_only_if_there_is_none_yet() {
    let bank = new_bank().await;
    let opening = json!({ "id": "42", "owner": "Ada", "currency": "EUR" });
    let open = async |headers: &[(&str, &str)]| {
        send_as(&bank, None, request("/accounts", &opening, headers)).await
    };
    let failed = open(&[("if-match", "*")]).await;
    failed.is_problem(412, "precondition_failed");
    assert_eq!((&failed.json()["version"], failed.header("etag")), (&json!(0), None));
    assert_eq!(open(&[("if-none-match", "*")]).await.status, 201);
    open(&[("if-none-match", "*")]).await.is_problem(412, "precondition_failed");
    open(&[]).await.is_problem(422, "already_open");
}

#[actix_web::test]
async fn a_precondition_that_is_no_version_is_refused() {
    let bank = bank_with_account().await;
    let rows: &[&[(&str, &str)]] = &[
        &[("if-match", "1")],
        &[("if-match", "W/\"1\"")],
        &[("if-match", "\"1\", \"2\"")],
        &[("if-match", "\"0\"")],
        &[("if-match", "")],
        &[("if-none-match", "\"1\"")],
        &[("if-match", "\"1\""), ("if-none-match", "*")],
    ];
    for headers in rows {
        credit(&bank, headers).await.is_problem(400, "invalid_precondition");
    }
    let twice = request(CREDIT, &json!({ "amount": 1 }), &[("if-match", "\"1\"")]);
    let twice = twice.append_header(("if-match", "\"1\""));
    send_as(&bank, None, twice).await.is_problem(400, "invalid_precondition");
}

/// The command has increased the version, and the retry must not fail because of that.
#[actix_web::test]
async fn a_conditional_command_sent_again_with_its_key_is_replayed() {
    let bank = bank_with_account().await;
    let headers = [("if-match", "\"1\""), ("idempotency-key", "k")];
    let told = credit(&bank, &headers).await;
    assert_eq!((told.status.as_u16(), is_replayed(&told)), (200, false));
    let again = credit(&bank, &headers).await;
    assert!(is_replayed(&again));
    are_one(&told, &again);
    // A precondition that failed left no trace.
    let other = [("if-match", "\"1\""), ("idempotency-key", "other")];
    credit(&bank, &other).await.is_problem(412, "precondition_failed");
    assert!(!is_replayed(&credit(&bank, &[("if-match", "\"2\""), other[1]]).await));
}

#[actix_web::test]
async fn a_document_has_the_version_that_a_command_may_expect() {
    let bank = bank_with_account().await;
    for version in 1..=3 {
        let etag = format!("\"{version}\"");
        for path in ["", "/balance", "/credit-limit"] {
            let path = format!("/accounts/42{path}?after={version}");
            let answer = get(&bank, &path).await;
            assert_eq!(
                (answer.header("etag"), &answer.json()["version"]),
                (Some(&*etag), &json!(version))
            );
            let ask = async |known: &str| {
                let request = TestRequest::get().uri(&path).insert_header(("if-none-match", known));
                send_as(&bank, None, request).await
            };
            let known = ask(&etag).await;
            assert_eq!((known.status.as_u16(), &*known.text), (304, ""), "{known:?}");
            assert_eq!(
                [known.header("etag"), known.header("actum-position")],
                [Some(&*etag), Some(&*version.to_string())]
            );
            assert_eq!(ask("\"9\"").await.status, 200);
        }
        assert_eq!(credit(&bank, &[("if-match", &etag)]).await.status, 200);
    }
}

#[actix_web::test]
async fn a_client_without_access_to_an_account_does_not_learn_its_version() {
    use example_bank::account::{AccountCommand, Refusal};
    let bank = bank_with_account().await;
    let ask = async |command: AccountCommand, expected: ExpectedVersion| {
        let metadata = Metadata { actor: Some("user:Bob".into()), ..Metadata::default() };
        let options = CommandOptions { expected, metadata, ..CommandOptions::default() };
        match bank.execute_with::<Account>("42", command, options).await {
            Err(CommandError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    };
    let stale = ExpectedVersion::Exact(StreamVersion(9));
    let credit = AccountCommand::Credit { amount: 1 };
    assert_eq!(ask(credit, stale).await, Refusal::UnknownAccount);
    let opening =
        AccountCommand::Open { owner: "Bob".into(), currency: "EUR".into(), number: None };
    assert_eq!(ask(opening, ExpectedVersion::NoStream).await, Refusal::AlreadyOpen);
}

async fn metadata(bank: &Bank, version: u64) -> Metadata {
    let events = bank.history::<Account>("42", StreamVersion(version - 1), 1).await.unwrap();
    let event: &EventEnvelope<_> = &events[0];
    event.metadata().unwrap()
}

#[actix_web::test]
async fn actor_correlation_and_trace_are_in_the_metadata_of_the_events() {
    let bank = bank_with_account().await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let told =
        [("x-correlation-id", "order 7"), ("traceparent", parent), ("tracestate", "a=1 ,b=2")];
    let told = request(CREDIT, &json!({ "amount": 1 }), &told);
    assert_eq!(send_as(&bank, Some("shop"), told).await.status, 200);
    let told = metadata(&bank, 2).await;
    assert_eq!(told.correlation_id.as_deref(), Some("order 7"));
    assert_eq!(told.actor.as_deref(), Some("key:shop"));
    assert_eq!(told.trace_context.as_deref(), Some(parent));
    assert_eq!(told.extra.get("tracestate").map(String::as_str), Some("a=1,b=2"));
    // An invalid `traceparent` is ignored, and the key is the correlation id.
    let headers = [("traceparent", "00-0-0-0"), ("tracestate", "a=1"), ("idempotency-key", "k")];
    assert_eq!(credit(&bank, &headers).await.status, 200);
    let told = metadata(&bank, 3).await;
    let Metadata { correlation_id, actor, trace_context, extra, .. } = told;
    assert_eq!(correlation_id.as_deref(), Some("3:dev,k"));
    assert_eq!((actor.as_deref(), trace_context, extra.len()), (Some("dev"), None, 0));
}

#[actix_web::test]
async fn a_correlation_id_that_cannot_be_kept_is_refused() {
    let bank = bank_with_account().await;
    for id in ["", &"x".repeat(256)] {
        let refused = credit(&bank, &[("x-correlation-id", id)]).await;
        refused.is_problem(400, "invalid_correlation_id");
    }
    let twice = request(CREDIT, &json!({ "amount": 1 }), &[("x-correlation-id", "a")]);
    let twice = twice.append_header(("x-correlation-id", "b"));
    send_as(&bank, None, twice).await.is_problem(400, "invalid_correlation_id");
    assert_eq!(credit(&bank, &[("x-correlation-id", &"x".repeat(255))]).await.status, 200);
}

#[actix_web::test]
async fn a_key_has_all_its_bytes_beside_a_long_principal() {
    let bank = bank_with_account().await;
    let (key, who) = ("x".repeat(255), "y".repeat(64));
    for replayed in [false, true] {
        let request = request(CREDIT, &json!({ "amount": 1 }), &[("idempotency-key", &key)]);
        let answer = send_as(&bank, Some(&who), request).await;
        assert_eq!((answer.status.as_u16(), is_replayed(&answer)), (200, replayed), "{answer:?}");
    }
}

#[actix_web::test]
async fn a_path_and_a_key_are_the_same_however_they_are_spelt() {
    let bank = new_bank().await;
    for id in ["a@b", "c+d", "e~f"] {
        let opening = json!({ "id": id, "owner": "Ada", "currency": "EUR" });
        assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    }
    let send = async |path: &str, key: &str| {
        let headers = [("idempotency-key", key)];
        send_as(&bank, None, request(path, &json!({ "amount": 1 }), &headers)).await
    };
    let spellings = [
        &["/accounts/a@b/credit", "/accounts/a%40b/credit", "/accounts/%61@%62/credit"][..],
        &["/accounts/c+d/credit", "/accounts/c%2Bd/credit", "/accounts/c%2bd/credit"],
        &["/accounts/e~f/credit", "/accounts/e%7Ef/credit"],
    ];
    for (n, paths) in spellings.iter().enumerate() {
        let first = send(paths[0], &format!("k{n}")).await;
        assert_eq!((first.status.as_u16(), is_replayed(&first)), (200, false), "{first:?}");
        for path in *paths {
            for key in [format!("k{n}"), format!("\"k{n}\"")] {
                let again = send(path, &key).await;
                assert!(is_replayed(&again), "{path} {key}: {again:?}");
                are_one(&first, &again);
            }
        }
    }
    // Another account, another action and an escape that is escaped are other requests.
    for path in ["/accounts/c+d/credit", "/accounts/a@b/withdraw"] {
        send(path, "k0").await.is_problem(422, "idempotency_key_reused");
    }
    send("/accounts/a%2540b/credit", "k0").await.is_problem(400, "invalid_id");
    for key in ["\"", "\"k0", "\"\"", "\"k0\";v=1", "\"k\\0\""] {
        send("/accounts/a@b/credit", key).await.is_problem(400, "invalid_idempotency_key");
    }
    let balance = get(&bank, "/accounts/a@b/balance?after=6").await.json();
    assert_eq!(balance["balance"], 1);
}
