//! The read model `Balance`: the balance and status of an account.

use actum::{EventEnvelope, Fold, ReadModel, Sources, StreamVersion};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::account::{Account, AccountEvent, Status};

/// Balance of one account; the key is the account's id.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Balance {
    /// Balance in minor units; below zero if the credit limit is used.
    pub balance: i64,
    /// Three capital letters.
    pub currency: String,
    /// `open`, `frozen` or `closed`.
    #[schema(schema_with = crate::http::values::account_status)]
    pub status: Status,
    /// Version of the account; a command may expect it.
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
        self.balance += envelope.event.change();
        match &envelope.event {
            AccountEvent::Opened { currency, .. } => {
                self.currency = currency.clone();
                self.status = Status::Open;
            }
            AccountEvent::Frozen => self.status = Status::Frozen,
            AccountEvent::Unfrozen | AccountEvent::Reopened => self.status = Status::Open,
            AccountEvent::Closed => self.status = Status::Closed,
            AccountEvent::Credited { .. }
            | AccountEvent::Withdrawn { .. }
            | AccountEvent::CreditLimitGranted { .. }
            | AccountEvent::TransferredOut { .. }
            | AccountEvent::TransferredIn { .. }
            | AccountEvent::TakenBack { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
