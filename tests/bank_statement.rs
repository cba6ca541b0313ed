//! `GET /accounts/{id}/statement`: bookings, balances, periods and pages.

use serde_json::{Value, json};

use crate::bank::{Bank, bank_with_account, get, post};

/// Account 42 with the bookings +100, -30, +5, +5, -80; and another account in between.
async fn booked() -> Bank {
    let bank = bank_with_account().await;
    let opening = json!({ "id": "43", "owner": "Bob", "currency": "EUR" });
    post(&bank, "/accounts", opening).await;
    for (action, amount) in
        [("credit", 100), ("withdraw", 30), ("credit", 5), ("credit", 5), ("withdraw", 80)]
    {
        let body = json!({ "amount": amount });
        assert_eq!(post(&bank, &format!("/accounts/42/{action}"), body).await.status, 200);
        post(&bank, "/accounts/43/credit", json!({ "amount": 1 })).await;
    }
    bank
}

async fn statement(bank: &Bank, query: &str) -> Value {
    let answer = get(bank, &format!("/accounts/42/statement?after=12&{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn column(statement: &Value, name: &str) -> Vec<i64> {
    let bookings = statement["bookings"].as_array().unwrap();
    bookings.iter().map(|booking| booking[name].as_i64().unwrap()).collect()
}

#[actix_web::test]
async fn a_statement_shows_each_booking_with_the_balance_after_it() {
    let bank = booked().await;
    let all = statement(&bank, "").await;
    assert_eq!(column(&all, "amount"), [100, -30, 5, 5, -80]);
    assert_eq!(column(&all, "balance"), [100, 70, 75, 80, 0]);
    assert_eq!(column(&all, "booking"), [2, 3, 4, 5, 6]);
    assert_eq!(
        (&all["id"], &all["next"], &all["position"]),
        (&json!("42"), &json!(null), &json!(12))
    );
    assert_eq!(all["bookings"][1]["kind"], "withdrawn");
    let balance = get(&bank, "/accounts/42/balance?after=12").await.json();
    assert_eq!(balance["balance"], 0);
}

#[actix_web::test]
async fn a_statement_is_paged_and_says_where_to_continue() {
    let bank = booked().await;
    let first = statement(&bank, "limit=2").await;
    assert_eq!((column(&first, "booking"), &first["next"]), (vec![2, 3], &json!(3)));
    let second = statement(&bank, "limit=2&after_booking=3").await;
    assert_eq!((column(&second, "booking"), &second["next"]), (vec![4, 5], &json!(5)));
    let last = statement(&bank, "limit=2&after_booking=5").await;
    assert_eq!((column(&last, "booking"), &last["next"]), (vec![6], &json!(null)));
    let beyond = statement(&bank, "after_booking=18446744073709551615").await;
    assert_eq!((column(&beyond, "booking"), &beyond["next"]), (vec![], &json!(null)));
}

#[actix_web::test]
async fn a_period_includes_its_beginning_and_not_its_end() {
    let bank = booked().await;
    let all = statement(&bank, "").await;
    let at = |index: usize| all["bookings"][index]["booked_at"].as_str().unwrap().to_owned();
    let period = statement(&bank, &format!("from={}&to={}", at(1), at(3))).await;
    assert_eq!(column(&period, "booking"), [3, 4]);
    let past = statement(&bank, "from=1970-01-01&to=2000-01-01").await;
    assert_eq!(column(&past, "booking"), [0_i64; 0]);
    let ever = statement(&bank, "from=2000-01-01&to=9999-12-31").await;
    assert_eq!(column(&ever, "booking"), [2, 3, 4, 5, 6]);
}

#[actix_web::test]
async fn what_cannot_be_a_statement_is_a_problem() {
    let bank = booked().await;
    let problem = async |path: &str| get(&bank, &format!("/accounts/{path}")).await;
    problem("99/statement").await.is_problem(404, "unknown_account");
    for query in ["from=yesterday", "to=2026-13-01", "limit=0", "limit=501", "from=", "page=2"] {
        problem(&format!("42/statement?{query}")).await.is_problem(400, "invalid_query");
    }
    problem("a%00b/statement").await.is_problem(400, "invalid_id");
    let nobody = json!({ "id": "44", "owner": "Eve", "currency": "EUR" });
    post(&bank, "/accounts", nobody).await;
    let empty = get(&bank, "/accounts/44/statement?after=13").await;
    empty.is(200, json!({ "id": "44", "bookings": [], "next": null, "position": 13 }));
}
