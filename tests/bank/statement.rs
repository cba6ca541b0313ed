//! `GET /accounts/{id}/statement`: bookings, balances, periods and pages.

use actum::{Application, GlobalPosition, SqlError, SqlValue};
use example_bank::statement::Statement;
use serde_json::{Value, json};
use time::{Date, Month, Time, UtcOffset};

use crate::support::bank::{Bank, bank_with_account, get, post};

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
async fn an_invalid_statement_request_is_a_problem() {
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

#[actix_web::test]
async fn a_period_is_of_dates_or_rfc_3339_times_and_nothing_is_guessed() {
    let bank = booked().await;
    for moment in [
        "2026-11-28T23:59:59",
        "2026-11-28T23:59:59.5",
        "2026-11-28T23:59Z",
        "2026-11-28%2023:59:59Z",
        "2026-11-28x23:59:59Z",
        "2026-W01-1",
        "2026W011",
        "2026-001",
        "20260101",
        "2026-01",
        "2026-02-30",
        "2026-01-01Z",
        "2026-01-01T24:00:00Z",
        "2026-12-31T23:59:60Z",
        "1990-12-31T23:59:60Z",
        "2026-01-01T12:00:00+01:00", // an unescaped + is a blank
        "2026-01-01T12:00:00%2B0100",
        "2026-01-01T12:00:00%2B24:00",
        "+2026-01-01",
        "%2B02026-01-01",
        "-0001-01-01",
        "2026-01-01T12:00:00Z%20",
        "%EF%BC%92026-01-01",
        "1769860800",
    ] {
        for name in ["from", "to"] {
            let path = format!("/accounts/42/statement?{name}={moment}");
            get(&bank, &path).await.is_problem(400, "invalid_query");
        }
    }
    for moment in [
        "2026-01-01",
        "2024-02-29",
        "0000-01-01",
        "2026-01-01T00:00:00Z",
        "2026-01-01t00:00:00z",
        "2026-01-01T00:00:00.123456789Z",
        "2026-01-01T00:00:00-00:00",
        "2026-01-01T00:00:00%2B14:00",
    ] {
        let answer = get(&bank, &format!("/accounts/42/statement?from={moment}&after=12")).await;
        assert_eq!(answer.status, 200, "{moment}: {answer:?}");
    }
}

/// Beyond these the conversion to UTC has no date: PostgreSQL's driver would panic.
pub const NOT_IN_UTC: [&str; 3] = [
    "9999-12-31T23:59:59-23:59",
    "9999-12-31T23:59:59.999999999-00:01",
    "9999-12-31T00:01:00-23:59",
];

#[actix_web::test]
async fn a_time_that_has_no_date_in_utc_is_refused() {
    let bank = booked().await;
    for moment in NOT_IN_UTC {
        for name in ["from", "to"] {
            let path = format!("/accounts/42/statement?{name}={moment}");
            get(&bank, &path).await.is_problem(400, "invalid_query");
        }
    }
}

/// Statements with values that one of the databases cannot store are refused before any driver sees
/// them, alike on every store; the connection is of use afterwards.
pub async fn refuses_values_that_cannot_be_stored(bank: &Application) {
    let date = |year| Date::from_calendar_date(year, Month::December, 31).unwrap();
    let zone = |hours| UtcOffset::from_hms(hours, 0, 0).unwrap();
    let end = Time::from_hms(23, 59, 59).unwrap();
    let values = [
        SqlValue::Timestamp(Some(date(9999).with_time(end).assume_offset(zone(-23)))),
        SqlValue::Timestamp(Some(date(-9999).midnight().assume_offset(zone(23)))),
        SqlValue::Timestamp(Some(date(-5000).midnight().assume_utc())),
        SqlValue::Text(Some("a\0b".into())),
        SqlValue::Real(Some(f64::NAN)),
    ];
    for value in values {
        let all = [value];
        let found = bank.query::<Statement>().after(GlobalPosition(2)).run(async |db, _| {
            let row = vec![all.to_vec()];
            let outcomes = [
                db.rows("SELECT $1", &all).await.map(|_| 0),
                db.execute("SELECT $1", &all).await,
                db.rows_in("SELECT 1 WHERE 1 IN", &all).await.map(|_| 0),
                db.insert("bookings", &["booked_at"], row, "").await,
            ];
            let refused = |it: &Result<u64, SqlError>| matches!(it, Err(SqlError::Refused(_)));
            let still =
                db.rows("SELECT account FROM accounts WHERE account = $1", &["42".into()]).await?;
            Ok((outcomes.iter().all(refused), still.len()))
        });
        assert_eq!(found.await.unwrap(), (true, 1), "{all:?}");
    }
}

#[actix_web::test]
async fn a_value_that_one_database_cannot_store_is_refused_on_sqlite() {
    let bank = booked().await;
    refuses_values_that_cannot_be_stored(&bank).await;
}

#[actix_web::test]
async fn an_account_that_was_just_opened_is_never_unknown_to_what_is_behind_the_log() {
    let bank = bank_with_account().await;
    for n in 0..40 {
        let id = format!("new-{n}");
        let opening = json!({ "id": id, "owner": "Eve", "currency": "EUR" });
        post(&bank, "/accounts", opening).await;
        for path in ["/statement", "/balance", "/credit-limit", ""] {
            let answer = get(&bank, &format!("/accounts/{id}{path}")).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            assert!(answer.json()["position"].as_u64() >= Some(n + 2), "{path}: {answer:?}");
        }
    }
    for path in ["/statement", "/balance", "/credit-limit", ""] {
        let answer = get(&bank, &format!("/accounts/never{path}")).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
}
