//! The read model `StandingOrderStatus`: terms and next date of a standing order, and its last transfers.

use actum::{EventEnvelope, Fold, ReadModel, Sources};
use serde::{Deserialize, Serialize};
use time::Date;
use utoipa::ToSchema;

use crate::standing_order::{StandingOrder, StandingOrderEvent, execution, next_date};
use crate::transfer::{Order, Reason, Transfer, TransferEvent};
use crate::transfer_status::Stage;

/// Number of transfers that a status shows, the last ones.
pub const MOST_SHOWN: usize = 12;

/// Status of one standing order; the key is its id.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandingOrderStatus {
    /// Account that the money comes from.
    pub from: String,
    /// Account that the money goes to.
    pub to: String,
    /// Amount of each transfer in minor units.
    pub amount: i64,
    /// Text for both owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub reference: Option<String>,
    /// Day of the month. A month without this day has its last day instead.
    pub day: u8,
    /// State of the order.
    pub status: OrderState,
    /// Next date on which a transfer is requested, in UTC. A date that has passed is executed as soon
    /// as the transfer before it has ended. None once the order is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, format = Date)]
    pub next_date: Option<String>,
    /// Number of transfers so far.
    pub executed: u64,
    /// The last 12 transfers, oldest first.
    #[schema(max_items = 12)]
    pub transfers: Vec<Execution>,
    /// The last transfer of which no money arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub last_failure: Option<Failure>,
}

/// State of a standing order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// A transfer is requested each month.
    #[default]
    Active,
    /// Nothing more is requested.
    Cancelled,
}

/// Transfer that executes a standing order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Execution {
    /// Id of the transfer.
    pub transfer: String,
    /// Date on which it was due, in UTC.
    #[schema(format = Date)]
    pub date: String,
    /// Last step of the transfer, without those of its money.
    pub status: Stage,
}

/// Transfer of which no money arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// Id of the transfer.
    pub transfer: String,
    /// Refusal of an account.
    pub reason: Reason,
}

impl StandingOrderStatus {
    fn wait_for_the_date_after(&mut self, date: Date) {
        if self.status == OrderState::Active {
            self.next_date = next_date(date, self.day).map(|date| date.to_string());
        }
    }
}

impl ReadModel for StandingOrderStatus {
    const NAME: &'static str = "standing_order_status";

    fn sources() -> Sources<Self> {
        Sources::of::<StandingOrder>().and_by::<Transfer>(|envelope| {
            execution(envelope.stream.id()).map(|(order, _)| order.to_owned())
        })
    }
}

impl Fold<StandingOrder> for StandingOrderStatus {
    fn apply(&mut self, envelope: &EventEnvelope<StandingOrderEvent>) {
        match &envelope.event {
            StandingOrderEvent::Placed(terms) => {
                let Order { from, to, amount, reference } = terms.transfer.clone();
                *self = Self { from, to, amount, reference, day: terms.day, ..Self::default() };
                self.wait_for_the_date_after(envelope.recorded_at.date());
            }
            StandingOrderEvent::Cancelled => {
                (self.status, self.next_date) = (OrderState::Cancelled, None);
            }
        }
    }
}

impl Fold<Transfer> for StandingOrderStatus {
    fn apply(&mut self, envelope: &EventEnvelope<TransferEvent>) {
        let transfer = envelope.stream.id();
        let Some((_, date)) = execution(transfer) else { return };
        let status = Stage::after(&envelope.event);
        match &envelope.event {
            TransferEvent::Requested { .. } => {
                self.executed += 1;
                self.wait_for_the_date_after(date);
                if self.transfers.len() == MOST_SHOWN {
                    self.transfers.remove(0);
                }
                let (transfer, date) = (transfer.to_owned(), date.to_string());
                self.transfers.push(Execution { transfer, date, status });
                return;
            }
            TransferEvent::Failed(reason) | TransferEvent::Refunded(reason) => {
                let (transfer, reason) = (transfer.to_owned(), reason.clone());
                self.last_failure = Some(Failure { transfer, reason });
            }
            _ => {}
        }
        let shown = self.transfers.iter_mut().find(|shown| shown.transfer == transfer);
        if let Some(shown) = shown {
            shown.status = status;
        }
    }
}

#[cfg(test)]
mod tests;
