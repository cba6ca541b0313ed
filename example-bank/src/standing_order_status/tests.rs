//! Tests of the read model `StandingOrderStatus`: given events, then the document.

use actum::testing::ReadModelScenario;
use time::{Date, Month};

use super::{MOST_SHOWN, OrderState, StandingOrderStatus};
use crate::standing_order::{StandingOrder, StandingOrderEvent, Terms, next_date, transfer_id};
use crate::transfer::{Order, Reason, Transfer, TransferEvent};
use crate::transfer_status::Stage;

fn transfer() -> Order {
    Order { from: "ada".into(), to: "bob".into(), amount: 7, reference: None }
}

fn placed() -> StandingOrderEvent {
    StandingOrderEvent::Placed(Terms { transfer: transfer(), day: 31, owner: "ada".into() })
}

fn requested() -> TransferEvent {
    TransferEvent::Requested { order: transfer(), needs_approval: false }
}

#[test]
fn a_status_has_the_last_transfers_and_the_last_failure() {
    let mut dates = vec![Date::from_calendar_date(2026, Month::January, 31).unwrap()];
    for month in 0..MOST_SHOWN {
        dates.push(next_date(dates[month], 31).unwrap());
    }
    let ids: Vec<_> = dates.iter().map(|date| transfer_id("o", *date)).collect();
    let reason = Reason { code: "frozen".into(), detail: "the account is frozen".into() };
    let mut events = vec![("t", requested())];
    for (month, id) in ids.iter().enumerate() {
        let end = match month {
            0 | 3 => TransferEvent::Failed(reason.clone()),
            12 => continue,
            _ => TransferEvent::Completed,
        };
        events.extend([(&**id, requested()), (&**id, end)]);
    }
    events.push((&ids[12], requested()));
    ReadModelScenario::<StandingOrderStatus>::given::<StandingOrder>([("o", placed())])
        .and::<Transfer>(events)
        .then_document("o", |status| {
            assert_eq!((status.status, status.executed), (OrderState::Active, 13));
            assert_eq!(status.next_date.as_deref(), Some("2027-02-28"));
            let shown = status.transfers.iter().map(|it| (&*it.date, &*it.transfer, it.status));
            let shown: Vec<_> = shown.collect();
            assert_eq!(shown.len(), MOST_SHOWN);
            assert_eq!(shown[0], ("2026-02-28", &*ids[1], Stage::Completed));
            assert_eq!(shown[2], ("2026-04-30", &*ids[3], Stage::Failed));
            assert_eq!(shown[11], ("2027-01-31", &*ids[12], Stage::Requested));
            let failure = status.last_failure.as_ref().unwrap();
            assert_eq!((&failure.transfer, &failure.reason), (&ids[3], &reason));
        })
        .then_no_document("t");
}

#[test]
fn a_cancelled_order_has_no_next_date() {
    let id = "o_2026-01-31";
    ReadModelScenario::<StandingOrderStatus>::given::<StandingOrder>([("o", placed())])
        .and::<StandingOrder>([("o", StandingOrderEvent::Cancelled)])
        // It was due before, and its request came after.
        .and::<Transfer>([(id, requested()), (id, TransferEvent::Completed)])
        .then_document("o", |status| {
            assert_eq!((status.status, &status.next_date), (OrderState::Cancelled, &None));
            assert_eq!(status.transfers[0].status, Stage::Completed);
        });
}
