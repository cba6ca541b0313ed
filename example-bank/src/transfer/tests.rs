//! Tests of a transfer: given events, when a command is sent or an event comes, then events or effects.

use actum::Effects;
use actum::testing::{ProcessScenario, Scenario};

use super::TransferCommand::*;
use super::{AGAIN_AFTER, APPROVE_WITHIN, FREE_UP_TO, Order, Reason, Step, Transfer};
use super::{TransferEvent, TransferRefusal, Transfers};
use crate::account::Account;
use crate::account::AccountCommand::{TakeBack, TransferIn, TransferOut};
use crate::account::AccountEvent::{TakenBack, TransferredIn, TransferredOut};

fn order(amount: i64) -> Order {
    Order { from: "ada".into(), to: "bob".into(), amount, reference: Some("rent".into()) }
}

fn requested(amount: i64) -> TransferEvent {
    TransferEvent::Requested { order: order(amount), needs_approval: amount > FREE_UP_TO }
}

fn closed() -> Reason {
    Reason { code: "closed".into(), detail: "closed".into() }
}

#[test]
fn a_request_is_for_some_money_and_to_another_account() {
    let reversed = Some("\u{202e}rent".into());
    for (order, refusal) in [
        (order(0), TransferRefusal::InvalidAmount),
        (Order { to: "ada".into(), ..order(1) }, TransferRefusal::SameAccount),
        (Order { reference: reversed, ..order(1) }, TransferRefusal::InvalidReference),
    ] {
        Scenario::<Transfer>::given([]).when(Request(order)).then_refused(refusal);
    }
    Scenario::<Transfer>::given([]).when(Request(order(1))).then([requested(1)]);
}

#[test]
fn an_amount_above_the_limit_waits_for_an_approval_or_expires() {
    let waits = || Scenario::<Transfer>::given([requested(FREE_UP_TO + 1)]);
    waits().when(Approve).then([TransferEvent::Approved]);
    waits().when(Expire).then([TransferEvent::Expired]);
    waits().when(Complete).then_nothing();
    for given in [vec![requested(FREE_UP_TO)], vec![requested(i64::MAX), TransferEvent::Approved]] {
        Scenario::<Transfer>::given(given.clone()).when(Expire).then_nothing();
        Scenario::<Transfer>::given(given).when(Complete).then([TransferEvent::Completed]);
    }
}

#[test]
fn a_transfer_ends_once_and_clients_cannot_end_it() {
    let ended = |end| Scenario::<Transfer>::given([requested(1), end]);
    for outcome in [Complete, Fail(closed()), Refund(closed())] {
        ended(TransferEvent::Completed).when(outcome.clone()).then_nothing();
        Scenario::<Transfer>::given([requested(1)])
            .when_by("key:shop", outcome)
            .then_refused(TransferRefusal::NotForClients);
    }
    ended(TransferEvent::Expired).when(Approve).then_refused(TransferRefusal::HasEnded);
}

fn process(amount: i64) -> ProcessScenario<Transfers> {
    ProcessScenario::of("t").actor("user:Ada").when::<Transfer>("t", requested(amount))
}

fn take_out(amount: i64) -> impl FnOnce(&mut Effects<Transfers>) {
    let command = TransferOut { transfer: "t".into(), amount };
    move |effects| effects.execute_as::<Account>(Some("user:Ada".into()), "ada", &command)
}

/// The money has left its account.
fn in_transit() -> ProcessScenario<Transfers> {
    let out = TransferredOut { transfer: "t".into(), amount: 7, currency: "EUR".into() };
    process(7).then(take_out(7)).when::<Account>("ada", out)
}

#[test]
fn money_goes_out_and_in() {
    let put_in = TransferIn { transfer: "t".into(), amount: 7, currency: "EUR".into() };
    in_transit()
        .then(|effects| effects.execute::<Account>("bob", &put_in))
        .when::<Account>("bob", TransferredIn { transfer: "t".into(), amount: 7 })
        .then(|effects| effects.execute::<Transfer>("t", &Complete))
        .when::<Transfer>("t", TransferEvent::Completed)
        .then(|effects| effects.complete());
}

#[test]
fn money_that_is_refused_comes_back() {
    let back = TakeBack { transfer: "t".into(), amount: 7 };
    let again = Step::PutBack(closed());
    in_transit()
        .when_refused::<Account>("bob", "closed")
        .then(|effects| effects.execute::<Account>("ada", &back))
        .when_refused::<Account>("ada", "balance_too_large")
        .then(|effects| effects.deadline("timer", effects.time() + AGAIN_AFTER, &again))
        .when_due("timer")
        .then(|effects| effects.execute::<Account>("ada", &back))
        .when::<Account>("ada", TakenBack { transfer: "t".into(), amount: 7 })
        .then(|effects| effects.execute::<Transfer>("t", &Refund(closed())));
    process(7)
        .when_refused::<Account>("ada", "closed")
        .then(|effects| effects.execute::<Transfer>("t", &Fail(closed())));
}

#[test]
fn an_approval_is_waited_for_a_day() {
    let (large, expires) = (FREE_UP_TO + 1, Step::Record(Expire));
    let waits = process(large)
        .then(|effects| effects.deadline("timer", effects.time() + APPROVE_WITHIN, &expires));
    let is_due = || process(large).when_due("timer");
    is_due().then(|effects| effects.execute::<Transfer>("t", &Expire));
    // An approval may come first though the deadline was reached.
    for before in [waits, is_due()] {
        let approved = before.when::<Transfer>("t", TransferEvent::Approved).then(|effects| {
            effects.cancel("timer");
            take_out(large)(effects);
        });
        approved.when_refused::<Transfer>("t", "failed").then(|_| {});
    }
}
