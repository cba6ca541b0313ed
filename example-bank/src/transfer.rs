//! The transfer: money moves from one account to another, or comes back. In between it is in transit.
//!
//! [`Transfer`] is the aggregate: it keeps the request, an approval and the outcome. [`Transfers`] is
//! the process manager: it takes the money out, puts it in, and puts it back if it is refused there.

use std::time::Duration;

use actum::{
    Aggregate, Correlation, Effects, EventEnvelope, ProcessManager, Reacts, RefusalCode, Refused,
};
use serde::{Deserialize, Serialize};

use crate::account::{Account, AccountCommand, AccountEvent, is_owner};

/// Largest amount that is transferred without an approval.
pub const FREE_UP_TO: i64 = 1_000_000;
/// Time after which a request without an approval expires.
pub const APPROVE_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Delay before a step that must not fail is tried again.
pub const AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// A request: the ids of two accounts, an amount, and a text for both owners.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub from: String,
    pub to: String,
    pub amount: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl Order {
    /// Checks everything that needs no account.
    pub(crate) fn check(&self) -> Result<(), TransferRefusal> {
        match self {
            Self { amount: ..=0, .. } => Err(TransferRefusal::InvalidAmount),
            Self { from, to, .. } if from == to => Err(TransferRefusal::SameAccount),
            // Shown to people, as the name of an owner is.
            Self { reference: Some(it), .. } if !is_owner(it) => {
                Err(TransferRefusal::InvalidReference)
            }
            _ => Ok(()),
        }
    }
}

/// Refusal of an account, because of which no money arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Reason {
    pub code: String,
    pub detail: String,
}

/// State of a transfer: the fold of its events.
#[derive(Debug, Default, Clone, Copy)]
pub enum Transfer {
    #[default]
    Unrequested,
    WaitsForApproval,
    UnderWay,
    Ended,
}

/// Commands of a transfer. Only the process manager sends those that record an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferCommand {
    Request(Order),
    Approve,
    Expire,
    Complete,
    Fail(Reason),
    Refund(Reason),
}

/// Events of a transfer. `Failed`: no money has moved. `Refunded`: the money has come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferEvent {
    Requested { order: Order, needs_approval: bool },
    Approved,
    Expired,
    Completed,
    Failed(Reason),
    Refunded(Reason),
}

/// Reason why a transfer refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TransferRefusal {
    #[error("there is no such transfer")]
    UnknownTransfer,
    #[error("the transfer exists already")]
    AlreadyRequested,
    #[error("only the bank itself records how a transfer ends")]
    #[serde(rename = "forbidden")]
    NotForClients,
    #[error("an amount must be above zero")]
    InvalidAmount,
    #[error("a transfer must be to another account")]
    SameAccount,
    #[error("a reference must have 1 to 200 visible characters")]
    InvalidReference,
    #[error("the transfer has ended")]
    HasEnded,
}

impl Aggregate for Transfer {
    const TYPE: &'static str = "transfer";
    type Command = TransferCommand;
    type Event = TransferEvent;
    type Error = TransferRefusal;

    fn handle(&self, command: TransferCommand) -> Result<Vec<TransferEvent>, TransferRefusal> {
        use TransferCommand::*;
        use TransferRefusal::*;
        Ok(vec![match (self, command) {
            (Self::Unrequested, Request(order)) => {
                order.check()?;
                TransferEvent::Requested { needs_approval: order.amount > FREE_UP_TO, order }
            }
            (_, Request(_)) => return Err(AlreadyRequested),
            (Self::Unrequested, _) => return Err(UnknownTransfer),
            (Self::WaitsForApproval, Approve) => TransferEvent::Approved,
            (Self::Ended, Approve) => return Err(HasEnded),
            (Self::WaitsForApproval, Expire) => TransferEvent::Expired,
            (Self::UnderWay, Complete) => TransferEvent::Completed,
            (Self::UnderWay, Fail(reason)) => TransferEvent::Failed(reason),
            (Self::UnderWay, Refund(reason)) => TransferEvent::Refunded(reason),
            _ => return Ok(vec![]), // approved already, or just before it would have expired
        }])
    }

    fn authorise(&self, _: &str, command: &TransferCommand) -> Result<(), TransferRefusal> {
        match command {
            TransferCommand::Request(_) | TransferCommand::Approve => Ok(()),
            _ => Err(TransferRefusal::NotForClients), // the process manager has no actor
        }
    }

    fn apply(&mut self, event: &TransferEvent) {
        *self = match event {
            TransferEvent::Requested { needs_approval: true, .. } => Self::WaitsForApproval,
            TransferEvent::Requested { .. } | TransferEvent::Approved => Self::UnderWay,
            _ => Self::Ended,
        }
    }
}

impl RefusalCode for TransferRefusal {}

/// The process manager of one transfer.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Transfers {
    order: Order,
    /// Client that requested it: the source account checks that its money is theirs.
    actor: Option<String>,
    /// The step that is under way.
    step: Step,
}

/// A step of a transfer: one command.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub enum Step {
    #[default]
    TakeOut,
    PutIn {
        currency: String,
    },
    PutBack(Reason),
    Record(TransferCommand),
}

impl Transfers {
    fn begin(&mut self, step: Step, effects: &mut Effects<Self>) {
        use AccountCommand::*;
        let Order { from, to, amount, .. } = self.order.clone();
        let (transfer, actor) = (effects.key().to_owned(), self.actor.clone());
        match step.clone() {
            Step::TakeOut => {
                effects.execute_as::<Account>(actor, from, &TransferOut { transfer, amount });
            }
            Step::PutIn { currency } => {
                effects.execute::<Account>(to, &TransferIn { transfer, amount, currency });
            }
            Step::PutBack(_) => effects.execute::<Account>(from, &TakeBack { transfer, amount }),
            Step::Record(outcome) => effects.execute::<Transfer>(transfer, &outcome),
        }
        self.step = step;
    }
}

impl ProcessManager for Transfers {
    const NAME: &'static str = "transfers";
    type Deadline = Step;

    fn correlation() -> Correlation<Self> {
        Correlation::starts::<Transfer>().commands::<Transfer>().and_caused::<Account>()
    }

    fn refused(&mut self, refused: &Refused, effects: &mut Effects<Self>) {
        let reason = Reason { code: refused.code.clone(), detail: refused.detail.clone() };
        let is_by_account = !refused.step.is_to::<Transfer>(effects.key());
        match self.step.clone() {
            Step::TakeOut if is_by_account => {
                self.begin(Step::Record(TransferCommand::Fail(reason)), effects);
            }
            Step::PutIn { .. } if is_by_account => self.begin(Step::PutBack(reason), effects),
            Step::TakeOut | Step::PutIn { .. } => {} // it was approved, and is too late to expire
            // The money has moved, so the only way is to try again.
            again => effects.deadline("timer", effects.time() + AGAIN_AFTER, &again),
        }
    }

    fn due(&mut self, step: Step, effects: &mut Effects<Self>) {
        self.begin(step, effects);
    }
}

impl Reacts<Transfer> for Transfers {
    fn on(&mut self, event: &EventEnvelope<TransferEvent>, effects: &mut Effects<Self>) {
        match &event.event {
            TransferEvent::Requested { order, needs_approval } => {
                self.order = order.clone();
                // Without its actor no account could check whose money it is, so this parks it.
                self.actor = event.metadata().expect("metadata as this release writes it").actor;
                if *needs_approval {
                    let expire = Step::Record(TransferCommand::Expire);
                    effects.deadline("timer", effects.time() + APPROVE_WITHIN, &expire);
                } else {
                    self.begin(Step::TakeOut, effects);
                }
            }
            TransferEvent::Approved => {
                effects.cancel("timer");
                self.begin(Step::TakeOut, effects);
            }
            _ => effects.complete(),
        }
    }
}

impl Reacts<Account> for Transfers {
    fn on(&mut self, event: &EventEnvelope<AccountEvent>, effects: &mut Effects<Self>) {
        let next = match (&event.event, self.step.clone()) {
            (AccountEvent::TransferredOut { currency, .. }, _) => {
                Step::PutIn { currency: currency.clone() }
            }
            (AccountEvent::TransferredIn { .. }, _) => Step::Record(TransferCommand::Complete),
            (AccountEvent::TakenBack { .. }, Step::PutBack(reason)) => {
                Step::Record(TransferCommand::Refund(reason))
            }
            _ => return,
        };
        self.begin(next, effects);
    }
}

#[cfg(test)]
mod tests;
