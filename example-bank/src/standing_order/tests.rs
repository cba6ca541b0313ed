//! Tests of a standing order: dates, given events and when a command is sent or an event comes, and a
//! bank in memory over fourteen months.

use std::time::Duration;

use actum::testing::{ProcessScenario, Scenario, TestApplication};
use actum::{CommandOptions, Metadata, StartPosition};
use time::{Date, Month};

use super::StandingOrderCommand::{Cancel, Place};
use super::StandingOrderEvent::{Cancelled, Placed};
use super::{StandingOrder, StandingOrderRefusal, StandingOrders, Terms};
use super::{execution, next_date, transfer_id};
use crate::account::{Account, AccountCommand};
use crate::transfer::{FREE_UP_TO, Order, Reason, Transfer, Transfers};
use crate::transfer::{TransferCommand, TransferEvent, TransferRefusal};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn date(text: &str) -> Date {
    execution(&format!("_{text}")).unwrap_or_else(|| panic!("{text}")).1
}

#[test]
fn a_day_that_a_month_does_not_have_is_its_last_one() {
    for (after, day, expected) in [
        ("2026-01-30", 31, "2026-01-31"),
        ("2026-01-31", 31, "2026-02-28"),
        ("2026-02-28", 31, "2026-03-31"),
        ("2026-03-31", 31, "2026-04-30"),
        ("2026-04-30", 31, "2026-05-31"),
        ("2026-12-31", 31, "2027-01-31"),
        ("2027-12-15", 15, "2028-01-15"),
        ("2028-01-31", 31, "2028-02-29"),
        ("2028-01-30", 30, "2028-02-29"),
        ("2028-01-29", 29, "2028-02-29"),
        ("2027-01-29", 29, "2027-02-28"),
        ("2028-02-29", 29, "2028-03-29"),
        ("2100-01-31", 29, "2100-02-28"),
        ("2000-01-31", 30, "2000-02-29"),
        ("2026-06-14", 15, "2026-06-15"),
        ("2026-06-15", 15, "2026-07-15"),
        ("2026-06-16", 15, "2026-07-15"),
        ("2026-01-01", 1, "2026-02-01"),
        ("2026-02-28", 1, "2026-03-01"),
    ] {
        assert_eq!(next_date(date(after), day), Some(date(expected)), "{day} after {after}");
    }
    assert_eq!(next_date(date("2026-01-31"), 0), None);
    assert_eq!(next_date(Date::MAX, 31), None);
}

#[test]
fn each_month_of_four_centuries_has_one_date() {
    for day in 1..=31 {
        let mut last = Date::from_calendar_date(1999, Month::December, 31).unwrap();
        for month in 0..400 * 12 {
            last = next_date(last, day).unwrap();
            assert_eq!((last.year() - 2000) * 12 + i32::from(u8::from(last.month())) - 1, month);
            let is_end = last.next_day().unwrap().month() != last.month();
            assert!(last.day() == day || (last.day() < day && is_end), "{day}: {last}");
        }
    }
}

#[test]
fn the_id_of_a_transfer_names_its_order_and_its_date() {
    for order in ["a", "a_b", "a_2026-01-31", ""] {
        let id = transfer_id(order, date("2026-02-28"));
        assert_eq!(execution(&id), Some((order, date("2026-02-28"))), "{id}");
    }
    for other in
        ["a", "2026-02-28", "a_", "a_2026-02-30", "a_20260228", "a_2026-02-28T00", "a_2026"]
    {
        assert_eq!(execution(other), None, "{other}");
    }
}

fn terms(amount: i64, day: u8) -> Terms {
    let (from, to, reference) = ("ada-1".into(), "bob-1".into(), Some("rent".into()));
    Terms { transfer: Order { from, to, amount, reference }, day, owner: "ada".into() }
}

#[test]
fn terms_that_can_never_be_executed_are_refused() {
    use TransferRefusal::{InvalidAmount, InvalidReference, SameAccount};
    let with = |change: fn(&mut Order)| {
        let mut terms = terms(1, 1);
        change(&mut terms.transfer);
        terms
    };
    for (terms, refusal) in [
        (terms(1, 0), StandingOrderRefusal::InvalidDay),
        (terms(1, 32), StandingOrderRefusal::InvalidDay),
        (terms(0, 1), InvalidAmount.into()),
        (with(|order| order.to.clone_from(&order.from)), SameAccount.into()),
        (with(|order| order.reference = Some("\u{202e}".into())), InvalidReference.into()),
    ] {
        Scenario::<StandingOrder>::given([]).when(Place(terms)).then_refused(refusal);
    }
    for day in [1, 31] {
        Scenario::<StandingOrder>::given([])
            .when_by("user:ada", Place(terms(1, day)))
            .then([Placed(terms(1, day))]);
    }
}

#[test]
fn an_order_is_placed_and_cancelled_once_by_the_owner_of_the_account() {
    let placed = || Scenario::<StandingOrder>::given([Placed(terms(1, 1))]);
    placed().when(Place(terms(1, 1))).then_refused(StandingOrderRefusal::AlreadyPlaced);
    placed()
        .when_by("user:ada", Cancel)
        .then([Cancelled])
        .when(Cancel)
        .then_refused(StandingOrderRefusal::AlreadyCancelled);
    placed().when_by("key:shop", Cancel).then([Cancelled]);
    let unknown = StandingOrderRefusal::UnknownStandingOrder;
    placed().when_by("user:bob", Cancel).then_refused(unknown.clone());
    Scenario::<StandingOrder>::given([]).when(Cancel).then_refused(unknown);
    Scenario::<StandingOrder>::given([])
        .when_by("user:bob", Place(terms(1, 1)))
        .then_refused(StandingOrderRefusal::UnknownAccount);
}

/// An order that was placed on 1 January 2000 by Ada.
fn placed() -> ProcessScenario<StandingOrders> {
    ProcessScenario::of("o").actor("user:ada").when::<StandingOrder>("o", Placed(terms(7, 31)))
}

fn request(id: &str, process: ProcessScenario<StandingOrders>) -> ProcessScenario<StandingOrders> {
    process.when_due("date").then(|effects| {
        let (ada, order) = (Some("user:ada".into()), terms(7, 31).transfer);
        effects.execute_as::<Transfer>(ada, id, &TransferCommand::Request(order));
    })
}

fn waits_for(
    text: &str,
    process: ProcessScenario<StandingOrders>,
) -> ProcessScenario<StandingOrders> {
    let date = date(text);
    process.then(|effects| effects.deadline("date", date.midnight().assume_utc(), &date))
}

#[test]
fn the_next_date_is_waited_for_after_the_end_of_a_transfer() {
    let requested = || TransferEvent::Requested { order: Order::default(), needs_approval: true };
    let reason = || Reason { code: "closed".into(), detail: "closed".into() };
    for end in [
        TransferEvent::Completed,
        TransferEvent::Expired,
        TransferEvent::Failed(reason()),
        TransferEvent::Refunded(reason()),
    ] {
        let process = request("o_2000-01-31", waits_for("2000-01-31", placed()));
        let process = process.when::<Transfer>("o_2000-01-31", requested()).then(|_| {});
        let process = process.when::<Transfer>("o_2000-01-31", TransferEvent::Approved);
        let process = process.then(|_| {}).when::<Transfer>("o_2000-01-31", end);
        request("o_2000-02-29", waits_for("2000-02-29", process));
    }
}

#[test]
fn a_transfer_that_cannot_be_requested_is_passed_over() {
    let process = request("o_2000-01-31", placed());
    waits_for("2000-02-29", process.when_refused::<Transfer>("o_2000-01-31", "failed"));
}

#[test]
fn after_a_cancellation_no_date_is_waited_for() {
    let ends = |process: ProcessScenario<StandingOrders>| {
        process.when::<StandingOrder>("o", Cancelled).then(|effects| effects.complete())
    };
    ends(placed());
    ends(request("o_2000-01-31", placed()))
        .when::<Transfer>("o_2000-01-31", TransferEvent::Completed)
        .then(|effects| effects.complete());
}

#[test]
fn a_transfer_of_no_order_starts_nothing() {
    ProcessScenario::<StandingOrders>::of("x")
        .when::<Transfer>("x_2000-01-31", TransferEvent::Completed)
        .then(|_| {});
}

/// A bank at the beginning of 2000 with this balance in an account of Ada, and her order of 7 a month.
async fn bank(balance: i64) -> TestApplication {
    let app = TestApplication::start(|builder| {
        let builder = builder.aggregate::<Account>().aggregate::<Transfer>();
        let builder = builder.process_manager::<Transfers>(StartPosition::Beginning);
        let builder = builder.aggregate::<StandingOrder>();
        builder.process_manager::<StandingOrders>(StartPosition::Beginning)
    });
    let app = app.await;
    for (id, owner) in [("ada-1", "ada"), ("bob-1", "bob")] {
        let (owner, currency) = (owner.into(), "EUR".into());
        let open = AccountCommand::Open { owner, currency, number: None };
        app.execute::<Account>(id, open).await.unwrap();
    }
    let credit = AccountCommand::Credit { amount: balance };
    app.execute::<Account>("ada-1", credit).await.unwrap();
    let metadata = Metadata { actor: Some("user:ada".into()), ..Metadata::default() };
    let options = CommandOptions { metadata, ..CommandOptions::default() };
    app.execute_with::<StandingOrder>("o", Place(terms(7, 31)), options).await.unwrap();
    app
}

/// The transfers of the order with this event, in the order of the log.
async fn transfers(app: &TestApplication, event: &str) -> Vec<String> {
    let story = app.story().await.into_iter();
    let of_order = story.filter_map(|line| {
        let (stream, rest) = line.split_once(": ")?;
        let date = stream.strip_prefix("transfer-o_")?;
        rest.starts_with(event).then(|| date.to_owned())
    });
    of_order.collect()
}

const FOURTEEN_MONTHS: [&str; 14] = [
    "2000-01-31",
    "2000-02-29",
    "2000-03-31",
    "2000-04-30",
    "2000-05-31",
    "2000-06-30",
    "2000-07-31",
    "2000-08-31",
    "2000-09-30",
    "2000-10-31",
    "2000-11-30",
    "2000-12-31",
    "2001-01-31",
    "2001-02-28",
];

#[actix_web::test]
async fn a_transfer_a_month_is_made_across_a_crash_in_each_month() {
    let mut app = bank(1_000).await;
    for day in 1..=(366 + 31 + 28) {
        app.advance(DAY).await;
        if day % 29 == 0 {
            app.crash().await;
        }
        let today = app.now().date().to_string();
        let due = FOURTEEN_MONTHS.iter().filter(|date| **date <= &*today).count();
        assert_eq!(transfers(&app, "Completed").await, FOURTEEN_MONTHS[..due], "{today}");
    }
    assert_eq!(transfers(&app, "Requested").await, FOURTEEN_MONTHS);
}

#[actix_web::test]
async fn many_dates_that_have_passed_are_executed_once_and_in_order() {
    // The money is enough for five months, and which ones is no accident.
    let mut app = bank(5 * 7).await;
    app.settle().await;
    app.advance(425 * DAY).await;
    app.crash().await;
    app.settle().await;
    assert_eq!(transfers(&app, "Requested").await, FOURTEEN_MONTHS);
    assert_eq!(transfers(&app, "Completed").await, FOURTEEN_MONTHS[..5]);
    assert_eq!(transfers(&app, "Failed").await, FOURTEEN_MONTHS[5..]);
}

#[actix_web::test]
async fn an_order_of_a_large_amount_waits_for_each_approval() {
    let app = bank(4 * FREE_UP_TO).await;
    let large = Terms { day: 15, ..terms(FREE_UP_TO + 1, 15) };
    app.execute::<StandingOrder>("large", Place(large)).await.unwrap();
    app.advance(15 * DAY).await;
    let approve = TransferCommand::Approve;
    app.execute::<Transfer>("large_2000-01-15", approve).await.unwrap();
    app.settle().await;
    app.execute::<StandingOrder>("o", Cancel).await.unwrap();
    app.advance(32 * DAY).await;
    app.advance(DAY).await;
    let story = app.story().await.into_iter();
    let large = story.filter(|line| line.starts_with("transfer-large")).map(|line| {
        let (stream, rest) = line.split_once(": ").unwrap();
        format!("{stream} {}", rest.split(' ').next().unwrap())
    });
    let expected = [
        "transfer-large_2000-01-15 Requested",
        "transfer-large_2000-01-15 Approved",
        "transfer-large_2000-01-15 Completed",
        "transfer-large_2000-02-15 Requested",
        "transfer-large_2000-02-15 Expired",
    ];
    assert_eq!(large.collect::<Vec<_>>(), expected);
    assert_eq!(transfers(&app, "Requested").await, [""; 0], "it was cancelled before");
}
