//! Tests of the rules of a transfer: given events, when a command is sent, then events or a refusal.

use actum::testing::Scenario;

use super::TransferCommand::*;
use super::{FREE_UP_TO, Order, Reason, Transfer, TransferEvent, TransferRefusal};

fn order(amount: i64) -> Order {
    Order { from: "ada".into(), to: "bob".into(), amount, reference: Some("rent".into()) }
}

fn requested(amount: i64) -> TransferEvent {
    TransferEvent::Requested { order: order(amount), needs_approval: amount > FREE_UP_TO }
}

#[test]
fn a_request_is_for_some_money_and_to_another_account() {
    let refused = |order, refusal| {
        Scenario::<Transfer>::given([]).when(Request(order)).then_refused(refusal);
    };
    refused(order(0), TransferRefusal::InvalidAmount);
    refused(Order { to: "ada".into(), ..order(1) }, TransferRefusal::SameAccount);
    let reversed = Some("\u{202e}rent".into());
    refused(Order { reference: reversed, ..order(1) }, TransferRefusal::InvalidReference);
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
    let reason = || Reason { code: "closed".into(), detail: "the account is closed".into() };
    for outcome in [Complete, Fail(reason()), Refund(reason())] {
        Scenario::<Transfer>::given([requested(1), TransferEvent::Completed])
            .when(outcome.clone())
            .then_nothing();
        Scenario::<Transfer>::given([requested(1)])
            .when_by("key:shop", outcome)
            .then_refused(TransferRefusal::NotForClients);
    }
    Scenario::<Transfer>::given([requested(1), TransferEvent::Expired])
        .when(Approve)
        .then_refused(TransferRefusal::HasEnded);
}
