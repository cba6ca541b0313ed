//! Standing orders over HTTP: placed, executed once a month while the bank is killed and started, and
//! cancelled.

use std::time::Duration;

use actix_web::http::header::HeaderName;
use actix_web::test::TestRequest;
use actum::Application;
use actum::store::{Clock, SystemClock};
use actum::testing::ManualClock;
use example_bank::account::AccountCommand;
use example_bank::standing_order::{execution, next_date};
use serde_json::{Value, json};
use time::Date;

use super::{account, ledger, standing, start, tell};
use crate::support::bank::{get, post, post_keyed, send};
use crate::support::place::{Place, on_every_place};
use crate::support::waiting::{check, poll};

/// Two accounts with this balance in the first one.
async fn bank(place: &Place, balance: i64) -> (Application, ManualClock) {
    let clock = standing();
    let app = start(place, &clock).await;
    account(&app, "ada", balance).await;
    account(&app, "bob", 0).await;
    (app, clock)
}

fn terms(amount: i64) -> Value {
    json!({ "from": "ada", "to": "bob", "amount": amount, "day": 31, "reference": "rent" })
}

/// Places an order of this amount a month. Returns its location.
async fn place_order(app: &Application, amount: i64) -> String {
    let placed = post(app, "/standing-orders", terms(amount)).await;
    assert_eq!(placed.status, 201, "{placed:?}");
    placed.header("location").unwrap().to_owned()
}

/// The order, once so many of its transfers have ended.
async fn once(app: &Application, location: &str, ended: usize) -> Value {
    let look = async || {
        check(get(app, location).await.json(), |order| {
            let transfers = order["transfers"].as_array().map_or(&[][..], Vec::as_slice);
            let has_ended = |it: &&Value| it["status"] == "completed" || it["status"] == "failed";
            transfers.iter().filter(has_ended).count() == ended
        })
    };
    poll(Duration::from_secs(40), look).await
}

/// The first so many last days of a month after the day on which the store recorded the order.
fn dates(number: usize) -> Vec<String> {
    let mut dates: Vec<Date> = vec![SystemClock.now().date()];
    for month in 0..number {
        dates.push(next_date(dates[month], 31).unwrap());
    }
    dates[1..].iter().map(Date::to_string).collect()
}

/// Moves the clock into the day of this date.
fn reach(clock: &ManualClock, date: &str) {
    let (_, date) = execution(&format!("_{date}")).unwrap();
    clock.set(date.midnight().assume_utc() + Duration::from_secs(60 * 60));
}

fn members(order: &Value, name: &str) -> Vec<String> {
    let transfers = order["transfers"].as_array().unwrap().iter();
    transfers.map(|it| it[name].as_str().unwrap().to_owned()).collect()
}

async fn an_order_is_executed_each_month_until_it_is_cancelled(place: Place) {
    let (app, clock) = bank(&place, 100).await;
    let placed = post_keyed(&app, "/standing-orders", "k", terms(7)).await;
    assert_eq!(placed.status, 201, "{placed:?}");
    let location = placed.header("location").unwrap().to_owned();
    let id = placed.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(location, format!("/standing-orders/{id}"));
    let again = post_keyed(&app, "/standing-orders", "k", terms(7)).await;
    assert_eq!((again.status, &again.text), (placed.status, &placed.text));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));

    let read = format!("{location}?after={}", placed.json()["position"]);
    let order = get(&app, &read).await.json();
    let dates = dates(3);
    assert_eq!((&order["status"], &order["next_date"]), (&json!("active"), &json!(dates[0])));
    assert_eq!((&order["day"], &order["executed"]), (&json!(31), &json!(0)));
    assert_eq!((&order["transfers"], &order["last_failure"]), (&json!([]), &Value::Null));

    reach(&clock, &dates[0]);
    let order = once(&app, &location, 1).await;
    assert_eq!((&order["executed"], &order["next_date"]), (&json!(1), &json!(dates[1])));
    let expected = json!([{
        "transfer": format!("{id}_{}", dates[0]), "date": dates[0], "status": "completed"
    }]);
    assert_eq!(order["transfers"], expected);
    let transfer = order["transfers"][0]["transfer"].as_str().unwrap();
    if !matches!(place, Place::Memory(_)) {
        let transfer = get(&app, &format!("/transfers/{transfer}")).await.json();
        assert_eq!((&transfer["amount"], &transfer["reference"]), (&json!(7), &json!("rent")));
    }

    let cancel = format!("{location}/cancel");
    assert_eq!(post_keyed(&app, &cancel, "c", json!({})).await.status, 200);
    assert_eq!(post_keyed(&app, &cancel, "c", json!({})).await.status, 200);
    post(&app, &cancel, json!({})).await.is_problem(422, "already_cancelled");
    let other = place_order(&app, 1).await;
    reach(&clock, &dates[2]);
    // The other order shows that time has passed for both.
    once(&app, &other, 3).await;
    let order = once(&app, &location, 1).await;
    assert_eq!((&order["status"], &order["next_date"]), (&json!("cancelled"), &Value::Null));
    let ledger = ledger(app, &place).await;
    ledger.is_settled();
    assert_eq!((ledger.balances["ada"], ledger.balances["bob"]), (90, 10));
}

async fn months_without_a_bank_are_executed_in_order_when_it_starts(place: Place) {
    let (app, clock) = bank(&place, 14).await;
    let location = place_order(&app, 7).await;
    app.shutdown().await;
    drop(app);
    let dates = dates(4);
    reach(&clock, &dates[2]);
    let app = start(&place, &clock).await;
    let order = once(&app, &location, 3).await;
    assert_eq!(members(&order, "date"), dates[..3]);
    assert_eq!(members(&order, "status"), ["completed", "completed", "failed"]);
    let failure = &order["last_failure"];
    assert_eq!(failure["transfer"], order["transfers"][2]["transfer"]);
    assert_eq!(failure["reason"]["code"], "insufficient_funds");
    // Neither the crash nor the empty account ends the order.
    drop(app);
    reach(&clock, &dates[3]);
    let app = start(&place, &clock).await;
    tell(&app, "ada", AccountCommand::Credit { amount: 7 }).await;
    let order = once(&app, &location, 4).await;
    assert_eq!((&order["executed"], members(&order, "date")), (&json!(4), dates));
    ledger(app, &place).await.is_settled();
}

async fn an_order_that_can_never_be_executed_is_refused(place: Place) {
    let (app, _) = bank(&place, 1).await;
    let long = "x".repeat(201);
    for (from, to, amount, day, reference, status, code) in [
        ("ada", "ada", 1, 1, "rent", 422, "same_account"),
        ("ada", "bob", 0, 1, "rent", 422, "invalid_amount"),
        ("ada", "bob", -1, 1, "rent", 422, "invalid_amount"),
        ("ada", "bob", 1, 0, "rent", 422, "invalid_day"),
        ("ada", "bob", 1, 32, "rent", 422, "invalid_day"),
        ("ada", "bob", 1, 256, "rent", 400, "malformed_body"),
        ("ada", "bob", 1, 1, "", 422, "invalid_reference"),
        ("ada", "bob", 1, 1, &*long, 422, "invalid_reference"),
        ("nobody", "bob", 1, 1, "rent", 404, "unknown_account"),
        ("ada", "nobody", 1, 1, "rent", 404, "unknown_account"),
        ("ada", "a\u{0}b", 1, 1, "rent", 404, "unknown_account"),
        ("", "bob", 1, 1, "rent", 404, "unknown_account"),
    ] {
        let body = json!({
            "from": from, "to": to, "amount": amount, "day": day, "reference": reference
        });
        post(&app, "/standing-orders", body).await.is_problem(status, code);
    }
    let cancel = post(&app, "/standing-orders/nobody/cancel", json!({})).await;
    cancel.is_problem(404, "unknown_standing_order");
    get(&app, "/standing-orders/nobody").await.is_problem(404, "unknown_standing_order");
    let header = (HeaderName::from_static("if-match"), "\"9\"");
    let location = place_order(&app, 1).await;
    let request = TestRequest::post().uri(&format!("{location}/cancel")).insert_header(header);
    send(&app, request).await.is_problem(412, "precondition_failed");
    app.shutdown().await;
}

on_every_place!(
    an_order_is_executed_each_month_until_it_is_cancelled,
    months_without_a_bank_are_executed_in_order_when_it_starts,
    an_order_that_can_never_be_executed_is_refused,
);
