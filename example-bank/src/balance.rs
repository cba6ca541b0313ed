//! The read model `Balance`: what an account holds, and whether it is usable.

use actum::{EventEnvelope, Fold, ReadModel, Sources, StreamVersion};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::account::{Account, AccountEvent, Status};

/// The balance of one account; its key is the account's id.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Balance {
    /// In minor units; below zero when the credit limit is drawn on.
    pub balance: i64,
    /// Three capital letters.
    pub currency: String,
    /// `open`, `frozen` or `closed`.
    #[schema(schema_with = crate::http::values::account_status)]
    pub status: Status,
    /// The account's: a command may expect it.
    #[schema(value_type = u64)]
    pub version: StreamVersion,
}

impl ReadModel for Balance {
    const NAME: &'static str = "balance";
    const VERSION: u32 = 2;

    fn sources() -> Sources<Self> {
        Sources::of::<Account>()
    }

    fn version(&self) -> Option<StreamVersion> {
        Some(self.version)
    }
}

impl Fold<Account> for Balance {
    fn apply(&mut self, envelope: &EventEnvelope<AccountEvent>) {
        self.version = envelope.version;
        match &envelope.event {
            AccountEvent::Opened { currency, .. } => {
                self.currency = currency.clone();
                self.status = Status::Open;
            }
            AccountEvent::Credited { amount } => self.balance += amount,
            AccountEvent::Withdrawn { amount } => self.balance -= amount,
            AccountEvent::CreditLimitGranted { .. } => {}
            AccountEvent::Frozen => self.status = Status::Frozen,
            AccountEvent::Unfrozen => self.status = Status::Open,
            AccountEvent::Closed => self.status = Status::Closed,
        }
    }
}

#[cfg(test)]
mod tests;
