//! The read model `CreditLimit`: the granted and the used credit limit of an account.

use actum::{EventEnvelope, Fold, ReadModel, Sources, StreamVersion};
use serde::{Deserialize, Serialize};

use crate::account::{Account, AccountEvent};

/// Credit limit of one account; the key is the account's id.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditLimit {
    /// Granted limit in minor units: how far below zero the balance may go.
    pub granted: i64,
    balance: i64,
    /// Version of the account; a command may expect it.
    pub version: StreamVersion,
}

impl CreditLimit {
    /// Returns the used part of the limit.
    pub fn used(&self) -> i64 {
        self.balance.min(0).saturating_neg()
    }

    /// Returns the unused part of the limit.
    pub fn available(&self) -> i64 {
        self.granted.saturating_sub(self.used())
    }
}

impl ReadModel for CreditLimit {
    const NAME: &'static str = "credit_limit";
    const VERSION: u32 = 2;

    fn sources() -> Sources<Self> {
        Sources::of::<Account>()
    }

    fn version(&self) -> Option<StreamVersion> {
        Some(self.version)
    }
}

impl Fold<Account> for CreditLimit {
    fn apply(&mut self, envelope: &EventEnvelope<AccountEvent>) {
        self.version = envelope.version;
        self.balance += envelope.event.change();
        if let AccountEvent::CreditLimitGranted { limit } = envelope.event {
            self.granted = limit;
        }
    }
}

#[cfg(test)]
mod tests;
