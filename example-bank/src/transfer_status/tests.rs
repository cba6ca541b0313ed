//! Tests of the read model `TransferStatus`: given events, then the document.

use actum::testing::ReadModelScenario;

use super::{Stage, TransferStatus};
use crate::account::{Account, AccountEvent};
use crate::transfer::{FREE_UP_TO, Order, Reason, Transfer, TransferEvent};

fn requested(amount: i64) -> TransferEvent {
    let order = Order { from: "ada".into(), to: "bob".into(), amount, reference: None };
    TransferEvent::Requested { order, needs_approval: amount > FREE_UP_TO }
}

#[test]
fn a_status_has_each_step_of_the_money_and_of_the_transfer() {
    let reason = Reason { code: "closed".into(), detail: "the account is closed".into() };
    let transfer = || "t".to_owned();
    ReadModelScenario::<TransferStatus>::given::<Transfer>([
        ("t", requested(FREE_UP_TO + 1)),
        ("u", requested(1)),
        ("t", TransferEvent::Approved),
    ])
    .and::<Account>([
        ("ada", AccountEvent::Withdrawn { amount: 3 }),
        (
            "ada",
            AccountEvent::TransferredOut {
                transfer: transfer(),
                amount: 1,
                currency: "EUR".into(),
            },
        ),
        ("ada", AccountEvent::TakenBack { transfer: transfer(), amount: 1 }),
    ])
    .and::<Transfer>([("t", TransferEvent::Refunded(reason.clone()))])
    .then_document("t", |status| {
        let steps: Vec<_> =
            status.steps.iter().map(|step| (step.status, step.position.0)).collect();
        let expected = [
            (Stage::WaitsForApproval, 1),
            (Stage::Approved, 3),
            (Stage::Debited, 5),
            (Stage::Returned, 6),
            (Stage::Refunded, 7),
        ];
        assert_eq!(steps, expected);
        assert_eq!((status.status, status.reason.clone()), (Stage::Refunded, Some(reason.clone())));
        assert_eq!((&*status.from, &*status.to, status.amount), ("ada", "bob", FREE_UP_TO + 1));
    })
    .then_document("u", |status| assert_eq!(status.status, Stage::Requested))
    .then_no_document("ada");
}
