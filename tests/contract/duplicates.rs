//! A request that is sent again with its idempotency key: one effect, equal answers, and no answer
//! of another principal.

use actix_web::rt;
use actum::Application;
use serde_json::json;

use super::{are_one, balance, is_replayed, open_account, request, send_as, two_banks};
use crate::support::bank::post_keyed;
use crate::support::directory::Directory;
use crate::support::postgres::database;

const CREDIT: &str = "/accounts/42/credit";

async fn one_after_the_other([first, second]: &[Application; 2]) {
    open_account(first, "42").await;
    let told = post_keyed(first, CREDIT, "pay", json!({ "amount": 5 })).await;
    assert_eq!((told.status.as_u16(), is_replayed(&told)), (200, false), "{told:?}");
    post_keyed(first, CREDIT, "later", json!({ "amount": 100 })).await;
    for bank in [first, second, first] {
        let again = post_keyed(bank, CREDIT, "pay", json!({ "amount": 5 })).await;
        assert!(is_replayed(&again));
        are_one(&told, &again);
    }
    assert_eq!(balance(first, "42").await, 105);
    // A resource that was created without an id is the same, too.
    let opening = || json!({ "owner": "Ada", "currency": "EUR" });
    let told = post_keyed(first, "/accounts", "open", opening()).await;
    assert_eq!((told.status.as_u16(), is_replayed(&told)), (201, false), "{told:?}");
    let location = format!("/accounts/{}", told.json()["id"].as_str().unwrap());
    assert_eq!(told.header("location"), Some(&*location));
    for bank in [second, first] {
        let again = post_keyed(bank, "/accounts", "open", opening()).await;
        assert!(is_replayed(&again));
        are_one(&told, &again);
    }
}

async fn fifty_at_once(banks: &[Application; 2]) {
    open_account(&banks[0], "42").await;
    for round in 0..10 {
        let asks = (0..50).map(|n: usize| {
            let bank = banks[n % 2].clone();
            rt::spawn(async move {
                post_keyed(&bank, CREDIT, &format!("at-once-{round}"), json!({ "amount": 7 })).await
            })
        });
        let mut answers = Vec::new();
        for ask in asks.collect::<Vec<_>>() {
            answers.push(ask.await.unwrap());
        }
        assert_eq!(answers[0].status, 200, "{answers:?}");
        answers.iter().for_each(|answer| are_one(&answers[0], answer));
        assert_eq!(answers.iter().filter(|answer| !is_replayed(answer)).count(), 1);
        assert_eq!(balance(&banks[0], "42").await, 7 * (round + 1));
    }
}

async fn for_another_request([first, second]: &[Application; 2]) {
    open_account(first, "42").await;
    open_account(first, "43").await;
    let told = post_keyed(first, CREDIT, "k", json!({ "amount": 5 })).await;
    let others = [
        (CREDIT, json!({ "amount": 6 })),
        ("/accounts/42/withdraw", json!({ "amount": 5 })),
        ("/accounts/43/credit", json!({ "amount": 5 })),
    ];
    for (bank, (path, body)) in [first, second].into_iter().flat_map(|bank| {
        let others = others.clone();
        others.into_iter().map(move |other| (bank, other))
    }) {
        let refused = post_keyed(bank, path, "k", body).await;
        refused.is_problem(422, "idempotency_key_reused");
        let secret = told.json()["position"].to_string();
        assert!(!refused.text.contains(&format!("position\":{secret}")), "{refused:?}");
    }
    are_one(&told, &post_keyed(second, CREDIT, "k", json!({ "amount": 5 })).await);
    assert_eq!((balance(first, "42").await, balance(first, "43").await), (5, 0));
}

async fn by_another_principal([first, second]: &[Application; 2]) {
    open_account(first, "42").await;
    let keys = [(None, "c"), (Some("ab"), "c"), (Some("a"), "c"), (Some("a"), "b,c")];
    let ask = async |bank: &Application, who: Option<&str>, key: &str, amount: u32| {
        let body = json!({ "amount": amount });
        send_as(bank, who, request(CREDIT, &body, &[("idempotency-key", key)])).await
    };
    let mut told = Vec::new();
    for (n, (who, key)) in keys.into_iter().enumerate() {
        // Another principal's key gives neither their answer nor their refusal.
        let answer = ask(first, who, key, 1 + n as u32).await;
        assert_eq!((answer.status.as_u16(), is_replayed(&answer)), (200, false), "{who:?} {key}");
        told.push(answer);
    }
    for (n, (who, key)) in keys.into_iter().enumerate() {
        let again = ask(second, who, key, 1 + n as u32).await;
        assert!(is_replayed(&again));
        are_one(&told[n], &again);
    }
    assert_eq!(balance(first, "42").await, (1..=keys.len() as i64).sum::<i64>());
    // An account that a key names is not the one that another's names.
    let opening = json!({ "owner": "Ada", "currency": "EUR" });
    let mut ids = Vec::new();
    for who in [Some("a"), Some("b"), None] {
        let request = request("/accounts", &opening, &[("idempotency-key", "open")]);
        let opened = send_as(first, who, request).await;
        assert_eq!((opened.status.as_u16(), is_replayed(&opened)), (201, false));
        ids.push(opened.json()["id"].clone());
    }
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
}

async fn a_refusal([first, second]: &[Application; 2]) {
    open_account(first, "42").await;
    let withdraw = async |bank: &Application, amount: u32| {
        post_keyed(bank, "/accounts/42/withdraw", "out", json!({ "amount": amount })).await
    };
    for bank in [first, second, first] {
        withdraw(bank, 10).await.is_problem(422, "insufficient_funds");
        // The key is not even bound to its request, because nothing was stored.
        withdraw(bank, 11).await.is_problem(422, "insufficient_funds");
    }
    post_keyed(first, CREDIT, "in", json!({ "amount": 10 })).await;
    let told = withdraw(second, 10).await;
    assert_eq!((told.status.as_u16(), is_replayed(&told)), (200, false), "{told:?}");
    // A new decision on this command would refuse it.
    let again = withdraw(first, 10).await;
    assert!(is_replayed(&again));
    are_one(&told, &again);
    assert_eq!(balance(first, "42").await, 0);
}

macro_rules! on_both {
    ($($case:ident: $sqlite:ident, $postgres:ident;)*) => {$(
        #[actix_web::test]
        async fn $sqlite() {
            let directory = Directory::new();
            $case(&two_banks(&directory.file("bank.db")).await).await;
        }

        #[actix_web::test]
        #[ignore = "needs PostgreSQL: run scripts/test"]
        async fn $postgres() {
            let database = database().await;
            $case(&two_banks(&database.url()).await).await;
        }
    )*};
}

on_both! {
    one_after_the_other: a_retry_is_answered_byte_for_byte_on_sqlite,
        a_retry_is_answered_byte_for_byte_on_postgresql;
    fifty_at_once: fifty_at_once_act_once_and_are_answered_alike_on_sqlite,
        fifty_at_once_act_once_and_are_answered_alike_on_postgresql;
    for_another_request: a_key_for_another_request_is_refused_everywhere_on_sqlite,
        a_key_for_another_request_is_refused_everywhere_on_postgresql;
    by_another_principal: a_key_of_another_principal_is_another_key_on_sqlite,
        a_key_of_another_principal_is_another_key_on_postgresql;
    a_refusal: a_refusal_leaves_no_trace_and_is_judged_anew_on_sqlite,
        a_refusal_leaves_no_trace_and_is_judged_anew_on_postgresql;
}
