//! Tests of the read model `CreditLimit`: given events, then the document.

use actum::StreamVersion;
use actum::testing::ReadModelScenario;

use super::CreditLimit;
use crate::account::Account;
use crate::account::AccountEvent::*;

fn limit(granted: i64, balance: i64, version: u64) -> CreditLimit {
    CreditLimit { granted, balance, version: StreamVersion(version) }
}

#[test]
fn a_limit_is_used_as_far_as_the_balance_is_below_zero() {
    let credit_limit = ReadModelScenario::<CreditLimit>::given::<Account>([
        ("ada", Opened { owner: "Ada".into(), currency: "EUR".into(), number: None }),
        ("ada", CreditLimitGranted { limit: 500 }),
        ("ada", Credited { amount: 100 }),
        ("ada", Withdrawn { amount: 300 }),
        ("bob", Credited { amount: 100 }),
    ])
    .then("ada", limit(500, -200, 4))
    .then("bob", limit(0, 100, 1));
    credit_limit
        .then_document("ada", |ada| assert_eq!((ada.used(), ada.available()), (200, 300)))
        .then_document("bob", |bob| assert_eq!((bob.used(), bob.available()), (0, 0)));
}

#[test]
fn the_last_limit_granted_counts() {
    ReadModelScenario::<CreditLimit>::given::<Account>([
        ("ada", CreditLimitGranted { limit: 500 }),
        ("ada", CreditLimitGranted { limit: 200 }),
    ])
    .then("ada", limit(200, 0, 2));
}
