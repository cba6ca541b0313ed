//! The standing order: the same transfer each month, on the same day, until it is cancelled.
//!
//! [`StandingOrder`] is the aggregate: it keeps the terms. [`StandingOrders`] is the process manager: it
//! waits for each date, requests a transfer, and waits for the end of that transfer before the next date.
//! Dates that passed while no bank was running are executed later, each once and in their order. A date
//! begins at midnight in UTC. The first one is after the day on which the order was placed.

use std::borrow::Cow;
use std::iter::successors;

use actum::{
    Aggregate, Correlation, Effects, EventEnvelope, ProcessManager, Reacts, RefusalCode, Refused,
};
use serde::{Deserialize, Serialize};
use time::Date;
use time::format_description::well_known::Iso8601;

use crate::account::person;
use crate::transfer::{Order, Transfer, TransferCommand, TransferEvent, TransferRefusal};

/// Terms of a standing order.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub transfer: Order,
    /// Day of the month, 1 to 31. A month without this day has its last day instead.
    pub day: u8,
    /// Owner of the source account, looked up beforehand. No other person may place or cancel.
    pub owner: String,
}

/// State of a standing order: the fold of its events.
#[derive(Debug, Default, Clone)]
pub struct StandingOrder {
    /// Owner of the source account, once the order is placed.
    owner: Option<String>,
    is_cancelled: bool,
}

/// Commands of a standing order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StandingOrderCommand {
    Place(Terms),
    Cancel,
}

/// Events of a standing order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StandingOrderEvent {
    Placed(Terms),
    Cancelled,
}

/// Reason why a standing order refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StandingOrderRefusal {
    #[error("there is no such standing order")]
    UnknownStandingOrder,
    #[error("there is no such account")]
    UnknownAccount,
    #[error("the standing order exists already")]
    AlreadyPlaced,
    #[error("a day must be 1 to 31")]
    InvalidDay,
    #[error("the standing order is cancelled already")]
    AlreadyCancelled,
    /// No transfer could have these terms.
    #[error(transparent)]
    #[serde(skip)]
    Transfer(#[from] TransferRefusal),
}

impl Aggregate for StandingOrder {
    const TYPE: &'static str = "standing_order";
    type Command = StandingOrderCommand;
    type Event = StandingOrderEvent;
    type Error = StandingOrderRefusal;

    fn handle(
        &self,
        command: StandingOrderCommand,
    ) -> Result<Vec<StandingOrderEvent>, StandingOrderRefusal> {
        use StandingOrderCommand::*;
        use StandingOrderRefusal::*;
        match (&self.owner, command) {
            (None, Place(terms)) if !(1..=31).contains(&terms.day) => Err(InvalidDay),
            (None, Place(terms)) => {
                terms.transfer.check()?;
                Ok(vec![StandingOrderEvent::Placed(terms)])
            }
            (Some(_), Place(_)) => Err(AlreadyPlaced),
            (None, Cancel) => Err(UnknownStandingOrder),
            (Some(_), Cancel) if self.is_cancelled => Err(AlreadyCancelled),
            (Some(_), Cancel) => Ok(vec![StandingOrderEvent::Cancelled]),
        }
    }

    fn authorise(
        &self,
        actor: &str,
        command: &StandingOrderCommand,
    ) -> Result<(), StandingOrderRefusal> {
        let Some(name) = person(actor) else { return Ok(()) };
        match command {
            StandingOrderCommand::Place(terms) if terms.owner == name => Ok(()),
            // To others an account, or a standing order, is one that does not exist.
            StandingOrderCommand::Place(_) => Err(StandingOrderRefusal::UnknownAccount),
            StandingOrderCommand::Cancel if self.owner.as_deref() == Some(name) => Ok(()),
            StandingOrderCommand::Cancel => Err(StandingOrderRefusal::UnknownStandingOrder),
        }
    }

    fn apply(&mut self, event: &StandingOrderEvent) {
        match event {
            StandingOrderEvent::Placed(terms) => self.owner = Some(terms.owner.clone()),
            StandingOrderEvent::Cancelled => self.is_cancelled = true,
        }
    }
}

impl RefusalCode for StandingOrderRefusal {
    fn code(&self) -> Cow<'static, str> {
        match self {
            Self::UnknownStandingOrder => "unknown_standing_order".into(),
            Self::UnknownAccount => "unknown_account".into(),
            Self::AlreadyPlaced => "already_placed".into(),
            Self::InvalidDay => "invalid_day".into(),
            Self::AlreadyCancelled => "already_cancelled".into(),
            Self::Transfer(refusal) => refusal.code(),
        }
    }
}

/// Returns the first date after `after` that is this day of its month, or the last day of a month that
/// is too short. `None` for the day 0, and at the end of the calendar.
pub fn next_date(after: Date, day: u8) -> Option<Date> {
    let is_due = |date: &Date| date.day() == day.min(date.month().length(date.year()));
    // Each day is at most two months away.
    successors(after.next_day(), |date| date.next_day()).take(62).find(is_due)
}

/// Returns the id of the transfer that executes a standing order on this date. As it follows from
/// both, each execution happens once.
pub fn transfer_id(order: &str, date: Date) -> String {
    format!("{order}_{date}")
}

/// Returns the standing order that a transfer with this id executes, and the date.
pub fn execution(transfer: &str) -> Option<(&str, Date)> {
    let (order, text) = transfer.rsplit_once('_')?;
    let date = Date::parse(text, &Iso8601::DATE).ok()?;
    (date.to_string() == text).then_some((order, date))
}

/// The process manager of one standing order.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct StandingOrders {
    terms: Terms,
    /// Client that placed it. Each transfer is requested in its name, so the source account checks
    /// each time that its money is theirs.
    actor: Option<String>,
}

impl StandingOrders {
    fn wait_for_the_date_after(&self, date: Date, effects: &mut Effects<Self>) {
        if let Some(next) = next_date(date, self.terms.day) {
            effects.deadline("date", next.midnight().assume_utc(), &next);
        }
    }

    fn wait_for_the_date_after_that_of(&self, transfer: &str, effects: &mut Effects<Self>) {
        if let Some((_, date)) = execution(transfer) {
            self.wait_for_the_date_after(date, effects);
        }
    }
}

impl ProcessManager for StandingOrders {
    const NAME: &'static str = "standing_orders";
    type Deadline = Date;

    fn correlation() -> Correlation<Self> {
        let executes = |transfer: &EventEnvelope<TransferEvent>| {
            execution(transfer.stream.id()).map(|(order, _)| order.to_owned())
        };
        Correlation::starts::<StandingOrder>().and_by::<Transfer>(executes).commands::<Transfer>()
    }

    /// The transfer was not requested, because its id is taken or too long.
    fn refused(&mut self, refused: &Refused, effects: &mut Effects<Self>) {
        self.wait_for_the_date_after_that_of(&refused.step.aggregate_id, effects);
    }

    fn due(&mut self, date: Date, effects: &mut Effects<Self>) {
        let (actor, id) = (self.actor.clone(), transfer_id(effects.key(), date));
        let request = TransferCommand::Request(self.terms.transfer.clone());
        effects.execute_as::<Transfer>(actor, id, &request);
    }
}

impl Reacts<StandingOrder> for StandingOrders {
    fn on(&mut self, event: &EventEnvelope<StandingOrderEvent>, effects: &mut Effects<Self>) {
        match &event.event {
            StandingOrderEvent::Placed(terms) => {
                self.terms = terms.clone();
                // Without its actor no account could check whose money it is, so this parks it.
                self.actor = event.metadata().expect("metadata as this release writes it").actor;
                self.wait_for_the_date_after(event.recorded_at.date(), effects);
            }
            StandingOrderEvent::Cancelled => effects.complete(),
        }
    }
}

impl Reacts<Transfer> for StandingOrders {
    fn on(&mut self, event: &EventEnvelope<TransferEvent>, effects: &mut Effects<Self>) {
        match event.event {
            TransferEvent::Requested { .. } | TransferEvent::Approved => {}
            _ => self.wait_for_the_date_after_that_of(event.stream.id(), effects),
        }
    }
}

#[cfg(test)]
mod tests;
