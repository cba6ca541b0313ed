//! The account: what can be asked of it, what can have happened to it, why it may refuse.
//!
//! All rules about money stand in this file, and nothing else does: no HTTP, no storage, no async.
//! Amounts are integers in the currency's minor unit (cents); no sum here can wrap around, because
//! what would overflow is refused before it becomes an event.

mod number;
mod owner;

use actum::{Aggregate, Claim, RefusalCode, Snapshots};
use serde::{Deserialize, Serialize};

pub(crate) use owner::{HIDDEN, is_owner};

/// An account as its events have left it.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Account {
    status: Status,
    owner: String,
    /// Below zero: the part of the credit limit that is used.
    balance: i64,
    credit_limit: i64,
}

/// Where an account is in its life.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody has opened it yet.
    #[default]
    Unopened,
    /// In use.
    Open,
    /// Takes money in, lets none out.
    Frozen,
    /// Over, for good.
    Closed,
}

/// What can be asked of an account. Stored while a client waits to be answered later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountCommand {
    /// Open it for `owner`, in `currency` (three capital letters, such as `EUR`), under a number that
    /// no other account has, if it shall have one.
    Open { owner: String, currency: String, number: Option<String> },
    /// Put money in.
    Credit { amount: i64 },
    /// Take money out: first what is there, then what the credit limit allows.
    Withdraw { amount: i64 },
    /// Allow the balance to go down to `-limit`.
    GrantCreditLimit { limit: i64 },
    /// Let no money out until it is unfrozen.
    Freeze,
    /// Let money out again.
    Unfreeze,
    /// End it; its balance must be zero.
    Close,
}

/// What can have happened to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountEvent {
    /// It was opened.
    Opened {
        owner: String,
        currency: String,
        /// The account's for ever, also when it is closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<String>,
    },
    /// Money came in.
    Credited { amount: i64 },
    /// Money went out.
    Withdrawn { amount: i64 },
    /// The balance may now go down to `-limit`.
    CreditLimitGranted { limit: i64 },
    /// No money goes out any more.
    Frozen,
    /// Money may go out again.
    Unfrozen,
    /// It is over.
    Closed,
}

/// Reasons why an account refuses. The code of each over HTTP is its name in `snake_case`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No account of this id was ever opened.
    #[error("there is no such account")]
    UnknownAccount,
    /// People open accounts for themselves.
    #[error("an account is opened by its owner")]
    #[serde(rename = "forbidden")]
    NotForOthers,
    /// The id is taken.
    #[error("the account is open already")]
    AlreadyOpen,
    /// Too long, empty, or not to be shown on a screen.
    #[error(
        "an owner is 1 to {MAX_OWNER_CHARS} visible characters, without control or direction marks"
    )]
    InvalidOwner,
    /// Not like `EUR`.
    #[error("a currency is three capital letters, such as EUR")]
    InvalidCurrency,
    /// Mistyped: the check digits are not right, or it is no such number.
    #[error("an account number is like an IBAN, with the right check digits")]
    InvalidNumber,
    /// Zero or negative.
    #[error("an amount is above zero")]
    InvalidAmount,
    /// Negative.
    #[error("a credit limit is zero or above")]
    InvalidLimit,
    /// More than the balance and the unused credit limit.
    #[error("only {available} can be withdrawn")]
    InsufficientFunds { available: i64 },
    /// The balance would be too large to count.
    #[error("the balance would be too large")]
    BalanceTooLarge,
    /// The new limit would not cover what is drawn already.
    #[error("{used} of the credit limit is in use")]
    LimitInUse { used: i64 },
    /// Frozen: no money goes out.
    #[error("the account is frozen")]
    Frozen,
    /// Closed: nothing happens any more.
    #[error("the account is closed")]
    Closed,
    /// Closing needs a balance of zero.
    #[error("the balance is {balance}, not zero")]
    BalanceNotZero { balance: i64 },
}

/// The longest owner's name.
pub const MAX_OWNER_CHARS: usize = 200;

/// The kind of the claim that an account has on its number.
pub const ACCOUNT_NUMBER: &str = "account_number";

/// The name of the person who acts, if it is one and not a machine: `ada` of `user:ada`. People have
/// to do with the accounts they own and with no other.
pub fn person(actor: &str) -> Option<&str> {
    actor.strip_prefix("user:")
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = Refusal;

    fn handle(&self, command: AccountCommand) -> Result<Vec<AccountEvent>, Refusal> {
        use AccountCommand::*;
        match (self.status, command) {
            (Status::Unopened, Open { owner, currency, number }) => open(owner, currency, number),
            (Status::Unopened, _) => Err(Refusal::UnknownAccount),
            (_, Open { .. }) => Err(Refusal::AlreadyOpen),

            (Status::Closed, Close) => Ok(vec![]),
            (Status::Closed, _) => Err(Refusal::Closed),

            (_, Credit { amount }) => self.credit(amount),
            (Status::Frozen, Withdraw { .. }) => Err(Refusal::Frozen),
            (_, Withdraw { amount }) => self.withdraw(amount),
            (_, GrantCreditLimit { limit }) => self.grant_credit_limit(limit),

            (Status::Frozen, Freeze) | (Status::Open, Unfreeze) => Ok(vec![]),
            (_, Freeze) => Ok(vec![AccountEvent::Frozen]),
            (_, Unfreeze) => Ok(vec![AccountEvent::Unfrozen]),
            (_, Close) if self.balance != 0 => {
                Err(Refusal::BalanceNotZero { balance: self.balance })
            }
            (_, Close) => Ok(vec![AccountEvent::Closed]),
        }
    }

    fn authorise(&self, actor: &str, command: &AccountCommand) -> Result<(), Refusal> {
        let Some(name) = person(actor) else { return Ok(()) };
        match command {
            AccountCommand::Open { owner, .. } if owner != name => Err(Refusal::NotForOthers),
            // That an id is taken has to be told, but not at which version it is.
            AccountCommand::Open { .. } if !self.owner.is_empty() && self.owner != name => {
                Err(Refusal::AlreadyOpen)
            }
            AccountCommand::Open { .. } => Ok(()),
            _ if self.owner == name => Ok(()),
            _ => Err(Refusal::UnknownAccount),
        }
    }

    fn apply(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened { owner, .. } => {
                self.owner.clone_from(owner);
                self.status = Status::Open;
            }
            AccountEvent::Unfrozen => self.status = Status::Open,
            AccountEvent::Credited { amount } => self.balance += amount,
            AccountEvent::Withdrawn { amount } => self.balance -= amount,
            AccountEvent::CreditLimitGranted { limit } => self.credit_limit = *limit,
            AccountEvent::Frozen => self.status = Status::Frozen,
            AccountEvent::Closed => self.status = Status::Closed,
        }
    }

    fn claims(event: &AccountEvent) -> Vec<Claim> {
        match event {
            AccountEvent::Opened { number: Some(number), .. } => {
                vec![Claim::take(ACCOUNT_NUMBER, number)]
            }
            _ => vec![],
        }
    }

    fn snapshots() -> Option<Snapshots<Self>> {
        Some(Snapshots::every(100, 2))
    }
}

fn open(
    owner: String,
    currency: String,
    number: Option<String>,
) -> Result<Vec<AccountEvent>, Refusal> {
    if !is_owner(&owner) {
        return Err(Refusal::InvalidOwner);
    }
    if currency.len() != 3 || !currency.bytes().all(|letter| letter.is_ascii_uppercase()) {
        return Err(Refusal::InvalidCurrency);
    }
    let canonical = |number: String| number::canonical(&number).ok_or(Refusal::InvalidNumber);
    let number = number.map(canonical).transpose()?;
    Ok(vec![AccountEvent::Opened { owner, currency, number }])
}

impl Account {
    fn credit(&self, amount: i64) -> Result<Vec<AccountEvent>, Refusal> {
        check_positive(amount)?;
        self.balance.checked_add(amount).ok_or(Refusal::BalanceTooLarge)?;
        Ok(vec![AccountEvent::Credited { amount }])
    }

    fn withdraw(&self, amount: i64) -> Result<Vec<AccountEvent>, Refusal> {
        check_positive(amount)?;
        // A sum beyond i64 is more than any amount can be, so its largest value serves as well.
        let available = self.balance.saturating_add(self.credit_limit);
        if amount > available {
            return Err(Refusal::InsufficientFunds { available });
        }
        Ok(vec![AccountEvent::Withdrawn { amount }])
    }

    fn grant_credit_limit(&self, limit: i64) -> Result<Vec<AccountEvent>, Refusal> {
        if limit < 0 {
            return Err(Refusal::InvalidLimit);
        }
        // No overflow: the balance is never below -limit, so never i64::MIN.
        let used = (-self.balance).max(0);
        if limit < used {
            return Err(Refusal::LimitInUse { used });
        }
        if limit == self.credit_limit {
            return Ok(vec![]);
        }
        Ok(vec![AccountEvent::CreditLimitGranted { limit }])
    }
}

fn check_positive(amount: i64) -> Result<(), Refusal> {
    if amount > 0 { Ok(()) } else { Err(Refusal::InvalidAmount) }
}

impl RefusalCode for Refusal {
    fn status(&self) -> u16 {
        match self {
            Self::UnknownAccount => 404,
            Self::NotForOthers => 403,
            _ => 422,
        }
    }
}

#[cfg(test)]
mod tests;
