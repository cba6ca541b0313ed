//! A book into which numbers are noted, and a fold of it in which no event can be left out, doubled
//! or exchanged without changing the result: what the processes of the chaos and rebuild tests write.
//!
//! Each process says by itself how its read model is divided; the tests fold the log anew, their own way.

use actum::{Aggregate, EventEnvelope, Fold};
use serde::{Deserialize, Serialize};

/// A book that accepts every number.
#[derive(Default, Clone)]
pub struct Book;

/// The events of a [`Book`].
#[derive(PartialEq, Serialize, Deserialize)]
pub enum Noted {
    Noted { n: u64 },
}

impl Aggregate for Book {
    const TYPE: &'static str = "book";
    type Command = u64;
    type Event = Noted;
    type Error = std::convert::Infallible;

    fn handle(&self, n: u64) -> Result<Vec<Noted>, Self::Error> {
        Ok(vec![Noted::Noted { n }])
    }

    fn apply(&mut self, _: &Noted) {}
}

/// Number of noted numbers, and a checksum that depends on their order.
#[derive(Default, Clone, Serialize, Deserialize)]
pub struct Digest {
    pub events: u64,
    pub sum: u64,
}

impl Fold<Book> for Digest {
    fn apply(&mut self, event: &EventEnvelope<Noted>) {
        let Noted::Noted { n } = &event.event;
        self.events += 1;
        self.sum = (self.sum * 31 + n + 1) % 1_000_000_007;
    }
}
