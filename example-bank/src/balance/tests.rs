//! Tests of the read model `Balance`: given events, then the document.

use actum::StreamVersion;
use actum::testing::ReadModelScenario;

use super::Balance;
use crate::account::AccountEvent::{self, *};
use crate::account::{Account, Status};

fn opened(currency: &str) -> AccountEvent {
    Opened { owner: "Ada".into(), currency: currency.into(), number: None }
}

fn balance(balance: i64, currency: &str, status: Status, version: u64) -> Balance {
    Balance { balance, currency: currency.into(), status, version: StreamVersion(version) }
}

#[test]
fn a_balance_is_what_was_credited_less_what_was_withdrawn() {
    ReadModelScenario::<Balance>::given::<Account>([
        ("ada", opened("EUR")),
        ("bob", opened("JPY")),
        ("ada", Credited { amount: 1250 }),
        ("ada", CreditLimitGranted { limit: 500 }),
        ("bob", Credited { amount: 7 }),
        ("ada", Withdrawn { amount: 1500 }),
    ])
    .then("ada", balance(-250, "EUR", Status::Open, 4))
    .then("bob", balance(7, "JPY", Status::Open, 2))
    .then_no_document("eve");
}

#[test]
fn a_balance_says_whether_its_account_is_usable() {
    let given = |events: &[AccountEvent]| {
        let events = [&[opened("EUR")], events].concat();
        ReadModelScenario::<Balance>::given::<Account>(events.into_iter().map(|e| ("ada", e)))
    };
    given(&[Frozen]).then("ada", balance(0, "EUR", Status::Frozen, 2));
    given(&[Frozen, Unfrozen]).then("ada", balance(0, "EUR", Status::Open, 3));
    given(&[Closed]).then("ada", balance(0, "EUR", Status::Closed, 2));
}

#[test]
fn an_amount_beyond_every_number_parks_its_account_alone() {
    ReadModelScenario::<Balance>::given::<Account>([
        ("ada", Credited { amount: i64::MAX }),
        ("ada", Credited { amount: 1 }),
        ("bob", opened("EUR")),
    ])
    .then_parked("ada", "overflow")
    .then("bob", balance(0, "EUR", Status::Open, 1));
}
