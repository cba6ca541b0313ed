//! The read model `CreditLimit`: how far an account may be drawn, and how far it is.

use actum::{EventEnvelope, Fold, ReadModel, Sources, StreamVersion};
use serde::{Deserialize, Serialize};

use crate::account::{Account, AccountEvent};

/// The credit limit of one account; its key is the account's id.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditLimit {
    /// How far below zero the balance may go, in minor units.
    pub granted: i64,
    balance: i64,
    /// The account's: a command may expect it.
    pub version: StreamVersion,
}

impl CreditLimit {
    /// How much of the limit is drawn.
    pub fn used(&self) -> i64 {
        self.balance.min(0).saturating_neg()
    }

    /// How much of the limit is left: what is granted and not used.
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
        match &envelope.event {
            AccountEvent::Credited { amount } => self.balance += amount,
            AccountEvent::Withdrawn { amount } => self.balance -= amount,
            AccountEvent::CreditLimitGranted { limit } => self.granted = *limit,
            AccountEvent::Opened { .. }
            | AccountEvent::Frozen
            | AccountEvent::Unfrozen
            | AccountEvent::Closed => {}
        }
    }
}

#[cfg(test)]
mod tests;
