//! Orders: each asks a counter to add something, and ends as the counter answers, or when its time is
//! over.

use std::time::Duration;

use actum::{
    Aggregate, Correlation, Effects, EventEnvelope, ProcessManager, Reacts, RefusalCode, Refused,
    Step,
};
use serde::{Deserialize, Serialize};

use crate::support::counter::{Ask, Counted, Counter};

/// An order.
#[derive(Debug, Default, Clone)]
pub struct Order {
    is_placed: bool,
    pub end: Option<End>,
}

/// The end of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum End {
    Added(i64),
    Refused(String),
    Unchanged,
    Expired,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum OrderCommand {
    /// Asks the counter to add a number; 0 asks for nothing, and 13 panics.
    Place {
        counter: String,
        number: i64,
    },
    /// Waits for its deadline.
    Hold {
        hours: u64,
    },
    /// Does not wait any longer.
    Release,
    /// Panics in the process manager.
    Confuse,
    End(End),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum OrderEvent {
    Placed { counter: String, number: i64 },
    Held { hours: u64 },
    Released,
    Confused,
    Ended(End),
}

/// The order has ended before.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[error("it has ended before")]
pub struct HasEnded;

impl RefusalCode for HasEnded {}

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = HasEnded;

    fn handle(&self, command: OrderCommand) -> Result<Vec<OrderEvent>, HasEnded> {
        Ok(match command {
            OrderCommand::End(_) if self.end.is_some() => return Err(HasEnded),
            OrderCommand::Place { .. } if self.is_placed => vec![],
            OrderCommand::Place { counter, number } => vec![OrderEvent::Placed { counter, number }],
            OrderCommand::Hold { hours } => vec![OrderEvent::Held { hours }],
            OrderCommand::Release => vec![OrderEvent::Released],
            OrderCommand::Confuse => vec![OrderEvent::Confused],
            OrderCommand::End(end) => vec![OrderEvent::Ended(end)],
        })
    }

    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed { .. } => self.is_placed = true,
            OrderEvent::Ended(end) => self.end = Some(end.clone()),
            _ => {}
        }
    }
}

/// The process manager of orders.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    /// Sum of what the counter has added.
    pub added: i64,
}

impl Orders {
    fn end(effects: &mut Effects<Self>, end: End) {
        effects.execute::<Order>(effects.key().to_owned(), &OrderCommand::End(end));
    }
}

impl ProcessManager for Orders {
    const NAME: &'static str = "orders";
    const PARTITIONS: u32 = 2;
    type Deadline = String;

    fn correlation() -> Correlation<Self> {
        Correlation::starts::<Order>().commands::<Order>().and_caused::<Counter>()
    }

    fn refused(&mut self, refused: &Refused, effects: &mut Effects<Self>) {
        if refused.step.aggregate_type == Counter::TYPE {
            Self::end(effects, End::Refused(refused.code.clone()));
        }
    }

    fn due(&mut self, deadline: String, effects: &mut Effects<Self>) {
        assert_eq!(deadline, "held");
        Self::end(effects, End::Expired);
    }

    fn unchanged(&mut self, step: &Step, effects: &mut Effects<Self>) {
        assert!(step.is_to::<Counter>("a"));
        Self::end(effects, End::Unchanged);
    }
}

impl Reacts<Order> for Orders {
    fn on(&mut self, event: &EventEnvelope<OrderEvent>, effects: &mut Effects<Self>) {
        match &event.event {
            OrderEvent::Placed { counter, number } => {
                let ask = match number {
                    0 => Ask::Nothing,
                    13 => Ask::Panic,
                    number => Ask::Add(*number),
                };
                effects.execute::<Counter>(counter, &ask);
            }
            OrderEvent::Held { hours } => {
                let at = effects.time() + Duration::from_secs(hours * 3600);
                effects.deadline("expiry", at, &"held".to_owned());
            }
            OrderEvent::Released => effects.cancel("expiry"),
            OrderEvent::Confused => panic!("confused"),
            OrderEvent::Ended(_) => effects.complete(),
        }
    }
}

impl Reacts<Counter> for Orders {
    fn on(&mut self, event: &EventEnvelope<Counted>, effects: &mut Effects<Self>) {
        let Counted::Added(number) = event.event else { return };
        self.added += number;
        Self::end(effects, End::Added(self.added));
    }
}
