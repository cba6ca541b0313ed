//! A small aggregate for tests of the runtime: it counts, refuses, panics and is poisoned on demand.

use actum::{Aggregate, EventEnvelope, Fold, ReadModel, RefusalCode, Sources};
use serde::{Deserialize, Serialize};

/// Adds numbers up.
#[derive(Debug, Default, Clone)]
pub struct Counter {
    /// The sum so far.
    pub sum: i64,
}

/// The commands of a [`Counter`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// Add this much; refused when the sum would go below zero.
    Add(i64),
    /// Store two events at once.
    AddTwice(i64),
    /// Nothing to do.
    Nothing,
    /// Panic while deciding.
    Panic,
    /// Store an event that panics when it is folded.
    Poison,
}

/// The events of a [`Counter`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Counted {
    /// This number was added.
    Added(i64),
    /// Folding this panics.
    Poisoned,
}

/// The sum would be below zero.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[error("{0} is below zero")]
pub struct BelowZero(pub i64);

impl RefusalCode for BelowZero {}

impl Aggregate for Counter {
    const TYPE: &'static str = "counter";
    type Command = Ask;
    type Event = Counted;
    type Error = BelowZero;

    fn handle(&self, ask: Ask) -> Result<Vec<Counted>, BelowZero> {
        match ask {
            Ask::Add(n) if self.sum + n < 0 => Err(BelowZero(self.sum + n)),
            Ask::Add(n) => Ok(vec![Counted::Added(n)]),
            Ask::AddTwice(n) => Ok(vec![Counted::Added(n), Counted::Added(n)]),
            Ask::Nothing => Ok(vec![]),
            Ask::Panic => panic!("asked to panic"),
            Ask::Poison => Ok(vec![Counted::Poisoned]),
        }
    }

    fn apply(&mut self, event: &Counted) {
        match event {
            Counted::Added(n) => self.sum += n,
            Counted::Poisoned => panic!("poisoned"),
        }
    }
}

/// A read model that counts the events of each counter and can fold all of them.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Count(pub u64);

impl ReadModel for Count {
    const NAME: &'static str = "count";

    fn sources() -> Sources<Self> {
        Sources::of::<Counter>()
    }
}

impl Fold<Counter> for Count {
    fn apply(&mut self, _: &EventEnvelope<Counted>) {
        self.0 += 1;
    }
}
