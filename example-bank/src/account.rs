//! The account: its commands, its events, and the reasons why it may refuse.
//!
//! All rules about money are in this file, and nothing else is: no HTTP, no storage, no async code.
//! Amounts are integers in the currency's minor unit (cents). No sum here can overflow, because a
//! command that would cause one is refused before it becomes an event.

mod number;
mod owner;

use actum::{Aggregate, Claim, RefusalCode, Snapshots};
use serde::{Deserialize, Serialize};

pub(crate) use owner::{HIDDEN, is_owner};

/// State of an account: the fold of its events.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Account {
    status: Status,
    owner: String,
    currency: String,
    /// Below zero: the used part of the credit limit.
    balance: i64,
    credit_limit: i64,
}

/// Status of an account.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No one has opened the account yet.
    #[default]
    Unopened,
    /// In use.
    Open,
    /// Accepts credits but no withdrawals.
    Frozen,
    /// Closed. Only money that comes back from a transfer opens it again.
    Closed,
}

/// Commands of an account. Serialisable, because a deferred command is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountCommand {
    /// Opens the account for `owner`, in `currency` (three capital letters, such as `EUR`),
    /// optionally with a number that no other account has.
    Open { owner: String, currency: String, number: Option<String> },
    /// Puts money in.
    Credit { amount: i64 },
    /// Takes money out: from the balance first, then from the credit limit.
    Withdraw { amount: i64 },
    /// Allows the balance to go down to `-limit`.
    GrantCreditLimit { limit: i64 },
    /// Refuses withdrawals until the account is unfrozen.
    Freeze,
    /// Allows withdrawals again.
    Unfreeze,
    /// Closes the account; its balance must be zero.
    Close,
    /// Takes money out for a transfer, as a withdrawal does.
    TransferOut { transfer: String, amount: i64 },
    /// Puts the money of a transfer in, if it is in the account's currency.
    TransferIn { transfer: String, amount: i64, currency: String },
    /// Puts money back that a transfer took out. A closed account opens again, because its owner
    /// must be able to get at the money.
    TakeBack { transfer: String, amount: i64 },
}

/// Events of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountEvent {
    /// The account was opened.
    Opened {
        owner: String,
        currency: String,
        /// Number of the account. It is never given to another account, even after this one was
        /// closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<String>,
    },
    /// Money came in.
    Credited { amount: i64 },
    /// Money went out.
    Withdrawn { amount: i64 },
    /// The balance may now go down to `-limit`.
    CreditLimitGranted { limit: i64 },
    /// Withdrawals are refused from now on.
    Frozen,
    /// Withdrawals are allowed again.
    Unfrozen,
    /// The account was closed.
    Closed,
    /// The closed account was opened again.
    Reopened,
    /// Money went out to another account. The transfer has it now.
    TransferredOut { transfer: String, amount: i64, currency: String },
    /// Money of a transfer came in.
    TransferredIn { transfer: String, amount: i64 },
    /// Money of a transfer came back, because the other account had refused it.
    TakenBack { transfer: String, amount: i64 },
}

impl AccountEvent {
    /// Returns what the event adds to the balance; below zero if it takes money out.
    pub fn change(&self) -> i64 {
        match self {
            Self::Credited { amount }
            | Self::TransferredIn { amount, .. }
            | Self::TakenBack { amount, .. } => *amount,
            Self::Withdrawn { amount } | Self::TransferredOut { amount, .. } => -amount,
            Self::Opened { .. }
            | Self::CreditLimitGranted { .. }
            | Self::Frozen
            | Self::Unfrozen
            | Self::Closed
            | Self::Reopened => 0,
        }
    }
}

/// Reason why an account refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No account with this id was ever opened.
    #[error("there is no such account")]
    UnknownAccount,
    /// A person tried to open an account for someone else.
    #[error("an account is opened by its owner")]
    #[serde(rename = "forbidden")]
    NotForOthers,
    /// An account with this id exists already.
    #[error("the account exists already")]
    AlreadyOpen,
    /// The owner's name is empty, too long, or contains characters that cannot be displayed.
    #[error(
        "an owner must have 1 to {MAX_OWNER_CHARS} visible characters, without control or \
         direction marks"
    )]
    InvalidOwner,
    /// The currency is not three capital letters such as `EUR`.
    #[error("a currency must be three capital letters, such as EUR")]
    InvalidCurrency,
    /// The account number has wrong check digits or a wrong form.
    #[error("an account number must have the form of an IBAN with correct check digits")]
    InvalidNumber,
    /// The amount is zero or negative.
    #[error("an amount must be above zero")]
    InvalidAmount,
    /// The limit is negative.
    #[error("a credit limit must not be negative")]
    InvalidLimit,
    /// The amount is more than the balance and the unused credit limit.
    #[error("only {available} can be withdrawn")]
    InsufficientFunds { available: i64 },
    /// The new balance would not fit into 64 bits.
    #[error("the balance would be too large")]
    BalanceTooLarge,
    /// The new limit is below the used part of the current one.
    #[error("{used} of the credit limit is in use")]
    LimitInUse { used: i64 },
    /// The account is frozen, so no money goes out.
    #[error("the account is frozen")]
    Frozen,
    /// The account is closed.
    #[error("the account is closed")]
    Closed,
    /// The money of a transfer is in another currency than the account.
    #[error("the account is in {currency}")]
    OtherCurrency { currency: String },
    /// The balance is not zero, so the account cannot be closed.
    #[error("the balance is {balance}, not zero")]
    BalanceNotZero { balance: i64 },
}

/// Maximum length of an owner's name in characters.
pub const MAX_OWNER_CHARS: usize = 200;

/// Kind of the claim that an account has on its number.
pub const ACCOUNT_NUMBER: &str = "account_number";

/// Returns the name of a person who acts, such as `ada` of `user:ada`, or `None` for a machine.
/// People may only use the accounts that they own.
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

            (_, TakeBack { transfer, amount }) => self.take_back(transfer, amount),
            (Status::Closed, Close) => Ok(vec![]),
            (Status::Closed, _) => Err(Refusal::Closed),

            (_, Credit { amount }) => {
                self.check_credit(amount)?;
                Ok(vec![AccountEvent::Credited { amount }])
            }
            (_, TransferIn { currency, .. }) if currency != self.currency => {
                Err(Refusal::OtherCurrency { currency: self.currency.clone() })
            }
            (_, TransferIn { transfer, amount, .. }) => {
                self.check_credit(amount)?;
                Ok(vec![AccountEvent::TransferredIn { transfer, amount }])
            }
            (Status::Frozen, Withdraw { .. } | TransferOut { .. }) => Err(Refusal::Frozen),
            (_, Withdraw { amount }) => {
                self.check_withdrawal(amount)?;
                Ok(vec![AccountEvent::Withdrawn { amount }])
            }
            (_, TransferOut { transfer, amount }) => {
                self.check_withdrawal(amount)?;
                let currency = self.currency.clone();
                Ok(vec![AccountEvent::TransferredOut { transfer, amount, currency }])
            }
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
            // The response reveals that the id exists, but must not reveal the version of the
            // account.
            AccountCommand::Open { .. } if !self.owner.is_empty() && self.owner != name => {
                Err(Refusal::AlreadyOpen)
            }
            AccountCommand::Open { .. } => Ok(()),
            _ if self.owner == name => Ok(()),
            _ => Err(Refusal::UnknownAccount),
        }
    }

    fn apply(&mut self, event: &AccountEvent) {
        self.balance += event.change();
        match event {
            AccountEvent::Opened { owner, currency, .. } => {
                self.owner.clone_from(owner);
                self.currency.clone_from(currency);
                self.status = Status::Open;
            }
            AccountEvent::Unfrozen | AccountEvent::Reopened => self.status = Status::Open,
            AccountEvent::CreditLimitGranted { limit } => self.credit_limit = *limit,
            AccountEvent::Frozen => self.status = Status::Frozen,
            AccountEvent::Closed => self.status = Status::Closed,
            AccountEvent::Credited { .. }
            | AccountEvent::Withdrawn { .. }
            | AccountEvent::TransferredOut { .. }
            | AccountEvent::TransferredIn { .. }
            | AccountEvent::TakenBack { .. } => {}
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
        Some(Snapshots::every(100, 3))
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
    fn check_credit(&self, amount: i64) -> Result<(), Refusal> {
        check_positive(amount)?;
        self.balance.checked_add(amount).ok_or(Refusal::BalanceTooLarge)?;
        Ok(())
    }

    fn check_withdrawal(&self, amount: i64) -> Result<(), Refusal> {
        check_positive(amount)?;
        // A sum beyond i64 is larger than any amount, so the maximum has the same effect.
        let available = self.balance.saturating_add(self.credit_limit);
        if amount > available { Err(Refusal::InsufficientFunds { available }) } else { Ok(()) }
    }

    fn take_back(&self, transfer: String, amount: i64) -> Result<Vec<AccountEvent>, Refusal> {
        self.check_credit(amount)?;
        let back = AccountEvent::TakenBack { transfer, amount };
        Ok(match self.status {
            Status::Closed => vec![AccountEvent::Reopened, back],
            _ => vec![back],
        })
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

impl RefusalCode for Refusal {}

#[cfg(test)]
mod tests;
