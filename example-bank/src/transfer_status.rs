//! The read model `TransferStatus`: how far a transfer has come, and when it took each step.

use actum::{EventEnvelope, Fold, GlobalPosition, ReadModel, Sources};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::account::{Account, AccountEvent};
use crate::transfer::{Order, Reason, Transfer, TransferEvent};

/// Status of one transfer; the key is the transfer's id.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransferStatus {
    /// Account that the money comes from.
    pub from: String,
    /// Account that the money goes to.
    pub to: String,
    /// Amount in minor units.
    pub amount: i64,
    /// Text for both owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub reference: Option<String>,
    /// Last step.
    pub status: Stage,
    /// Refusal of an account, because of which no money arrived. Only the source account's owner
    /// sees it, because it may tell a balance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub reason: Option<Reason>,
    /// Steps in their order.
    pub steps: Vec<StepTaken>,
}

/// Stage of a transfer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Requested, and on its way without an approval.
    #[default]
    Requested,
    /// Waits for an approval.
    WaitsForApproval,
    /// Approved.
    Approved,
    /// The money has left the source account.
    Debited,
    /// The money is in the target account.
    Credited,
    /// The money is back in the source account.
    Returned,
    /// Ended: the money has arrived.
    Completed,
    /// Ended: the source account refused, and no money has moved.
    Failed,
    /// Ended: the target account refused, and the money has come back.
    Refunded,
    /// Ended: no one approved it in time.
    Expired,
}

impl Stage {
    /// Returns the stage that an event of a transfer leads to.
    pub(crate) fn after(event: &TransferEvent) -> Self {
        match event {
            TransferEvent::Requested { needs_approval: true, .. } => Self::WaitsForApproval,
            TransferEvent::Requested { .. } => Self::Requested,
            TransferEvent::Approved => Self::Approved,
            TransferEvent::Completed => Self::Completed,
            TransferEvent::Expired => Self::Expired,
            TransferEvent::Failed(_) => Self::Failed,
            TransferEvent::Refunded(_) => Self::Refunded,
        }
    }
}

/// One step of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepTaken {
    /// Stage that the step led to.
    pub status: Stage,
    /// Position of the step in the log.
    #[schema(value_type = u64)]
    pub position: GlobalPosition,
    /// Time of the step, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl TransferStatus {
    fn take<E>(&mut self, status: Stage, envelope: &EventEnvelope<E>) {
        let (position, at) = (envelope.position, envelope.recorded_at);
        self.status = status;
        self.steps.push(StepTaken { status, position, at });
    }
}

impl ReadModel for TransferStatus {
    const NAME: &'static str = "transfer_status";

    fn sources() -> Sources<Self> {
        Sources::of::<Transfer>().and_by::<Account>(|envelope| match &envelope.event {
            AccountEvent::TransferredOut { transfer, .. }
            | AccountEvent::TransferredIn { transfer, .. }
            | AccountEvent::TakenBack { transfer, .. } => Some(transfer.clone()),
            _ => None,
        })
    }
}

impl Fold<Transfer> for TransferStatus {
    fn apply(&mut self, envelope: &EventEnvelope<TransferEvent>) {
        match &envelope.event {
            TransferEvent::Requested { order, .. } => {
                let Order { from, to, amount, reference } = order.clone();
                *self = Self { from, to, amount, reference, ..Self::default() };
            }
            TransferEvent::Failed(reason) | TransferEvent::Refunded(reason) => {
                self.reason = Some(reason.clone());
            }
            _ => {}
        }
        self.take(Stage::after(&envelope.event), envelope);
    }
}

impl Fold<Account> for TransferStatus {
    fn apply(&mut self, envelope: &EventEnvelope<AccountEvent>) {
        let stage = match &envelope.event {
            AccountEvent::TransferredOut { .. } => Stage::Debited,
            AccountEvent::TransferredIn { .. } => Stage::Credited,
            AccountEvent::TakenBack { .. } => Stage::Returned,
            _ => return,
        };
        self.take(stage, envelope);
    }
}

#[cfg(test)]
mod tests;
