//! Tests of the projection `Statement`: given events, then the rows.

use actum::StreamVersion;
use actum::testing::ProjectionScenario;

use super::{Booking, Period, Statement};
use crate::account::Account;
use crate::account::AccountEvent::{self, *};

fn opened() -> AccountEvent {
    Opened { owner: "Ada".into(), currency: "EUR".into(), number: None }
}

const ALL: Period = Period { from: None, to: None, after: StreamVersion(0), limit: 100 };

#[test]
fn each_booking_has_the_balance_after_it() {
    ProjectionScenario::<Statement>::given::<Account>([
        ("ada", opened()),
        ("ada", Credited { amount: 1250 }),
        ("bob", Credited { amount: 7 }),
        ("ada", Frozen),
        ("ada", Withdrawn { amount: 1500 }),
        ("bob", Withdrawn { amount: 7 }),
    ])
    .then(
        "SELECT booking, position, kind, amount, balance FROM bookings
         WHERE account = 'ada' ORDER BY booking",
        [(2, 2, "credited", 1250, 1250), (4, 5, "withdrawn", -1500, -250)],
    )
    .then("SELECT account, balance FROM accounts ORDER BY account", [("ada", -250), ("bob", 0)])
    .then_asked(async |db| {
        let bookings = Statement::of("ada", &ALL, db).await?.unwrap();
        let second = Period { from: Some(bookings[1].booked_at), ..ALL };
        let late = Statement::of("ada", &second, db).await?.unwrap();
        assert!(matches!(late[..], [Booking { balance: -250, .. }]), "{late:?}");
        let first = Period { to: second.from, ..ALL };
        assert_eq!(Statement::of("ada", &first, db).await?.unwrap(), bookings[..1]);
        assert_eq!(Statement::of("eve", &ALL, db).await?, None);
        Ok(())
    });
}

#[test]
fn an_account_without_a_booking_has_an_empty_statement() {
    ProjectionScenario::<Statement>::given::<Account>([("ada", opened()), ("ada", Closed)])
        .then("SELECT account, balance FROM accounts", [("ada", 0)])
        .then_no_rows("SELECT booking FROM bookings");
}

#[test]
fn an_amount_beyond_every_number_parks_its_account_alone() {
    ProjectionScenario::<Statement>::given::<Account>([
        ("ada", Credited { amount: i64::MAX }),
        ("ada", Credited { amount: 1 }),
        ("bob", Credited { amount: 1 }),
    ])
    .then_parked("ada", "overflow")
    .then("SELECT account, booking FROM bookings ORDER BY account", [("ada", 1), ("bob", 1)]);
}
