//! Tests of read models by values: given events, then documents.
//!
//! Every event and every document is encoded and decoded. The events are also folded in other
//! batches, delivered twice, and with a crash at every place. So a read model fails in its first
//! test if its documents lose data when they are stored, or depend on anything but its events.

mod delivery;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::marker::PhantomData;

use self::delivery::Saved;
use super::given::Given;
use super::stored::is_same;
use crate::aggregate::Aggregate;
use crate::read_model::{Fold, ReadModel};

/// Past events that a read model follows, each with the id of its aggregate, in the order of the
/// log.
///
/// ```
/// # use actum::testing::ReadModelScenario;
/// # use actum::{Aggregate, EventEnvelope, Fold, ReadModel, Sources};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Clone)] struct Account;
/// # #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// # enum Event { Credited { amount: i64 }, Withdrawn { amount: i64 } }
/// # use Event::*;
/// # #[derive(Debug, thiserror::Error)] #[error("")] struct Refusal;
/// # impl Aggregate for Account {
/// #     const TYPE: &'static str = "account";
/// #     type Command = (); type Event = Event; type Error = Refusal;
/// #     fn handle(&self, _: ()) -> Result<Vec<Event>, Refusal> { Ok(vec![]) }
/// #     fn apply(&mut self, _: &Event) {}
/// # }
/// # #[derive(Default, Clone, Serialize, Deserialize)] struct Balance { cents: i64 }
/// # impl ReadModel for Balance {
/// #     const NAME: &'static str = "balance";
/// #     fn sources() -> Sources<Self> { Sources::of::<Account>() }
/// # }
/// # impl Fold<Account> for Balance {
/// #     fn apply(&mut self, event: &EventEnvelope<Event>) {
/// #         match event.event {
/// #             Credited { amount } => self.cents += amount,
/// #             Withdrawn { amount } => self.cents -= amount,
/// #         }
/// #     }
/// # }
/// ReadModelScenario::<Balance>::given::<Account>([
///     ("42", Credited { amount: 100 }),
///     ("42", Withdrawn { amount: 30 }),
/// ])
/// .then("42", Balance { cents: 70 })
/// .then_no_document("7");
/// ```
///
/// The events are recorded one second apart, starting at the beginning of 2000. The time of a test
/// grows with the square of their number: use hundreds at most.
#[must_use = "say what is expected: .then(key, document), .then_no_document(key), …"]
pub struct ReadModelScenario<M> {
    given: Given,
    model: PhantomData<fn() -> M>,
}

/// Resulting documents, to be asserted.
pub struct Documents<M> {
    saved: Saved,
    given: Vec<String>,
    model: PhantomData<fn() -> M>,
}

impl<M: ReadModel> ReadModelScenario<M> {
    /// Starts with these past events of one aggregate type.
    #[track_caller]
    pub fn given<A: Aggregate>(
        events: impl IntoIterator<Item = (impl AsRef<str>, A::Event)>,
    ) -> Self
    where
        M: Fold<A>,
        A::Event: Debug + PartialEq,
    {
        Self { given: Given::default(), model: PhantomData }.and::<A>(events)
    }

    /// Adds later events of one aggregate type.
    #[track_caller]
    pub fn and<A: Aggregate>(
        mut self,
        events: impl IntoIterator<Item = (impl AsRef<str>, A::Event)>,
    ) -> Self
    where
        M: Fold<A>,
        A::Event: Debug + PartialEq,
    {
        self.given.happen::<A>(M::NAME, M::sources().routes.aggregate_types(), events);
        self
    }

    #[track_caller]
    fn fold(self) -> Documents<M> {
        let Given { events, shown } = self.given;
        match delivery::fold::<M>(&events) {
            Ok(saved) => Documents { saved, given: shown, model: PhantomData },
            Err(fault) => panic!("given {shown:#?}\n  {fault}"),
        }
    }

    /// Asserts that this key has exactly this document.
    #[track_caller]
    pub fn then(self, key: &str, document: M) -> Documents<M> {
        self.fold().then(key, document)
    }

    /// Passes the document of this key to `assert`.
    #[track_caller]
    pub fn then_document(self, key: &str, assert: impl FnOnce(&M)) -> Documents<M> {
        self.fold().then_document(key, assert)
    }

    /// Asserts that this key has no document.
    #[track_caller]
    pub fn then_no_document(self, key: &str) -> Documents<M> {
        self.fold().then_no_document(key)
    }

    /// Asserts that this key is parked, because one of its events cannot be applied. `reason` is a
    /// part of the reason.
    #[track_caller]
    pub fn then_parked(self, key: &str, reason: &str) -> Documents<M> {
        self.fold().then_parked(key, reason)
    }
}

impl<M: ReadModel> Documents<M> {
    /// Asserts that this key has exactly this document.
    #[track_caller]
    pub fn then(self, key: &str, document: M) -> Self {
        let expected = match delivery::written(key, &document) {
            Ok(expected) => expected,
            Err(fault) => panic!("{fault}"),
        };
        match self.document(key) {
            Some(json) if is_same(json, &expected) => self,
            _ => self.is_not(key, &expected),
        }
    }

    /// Passes the document of this key to `assert`.
    #[track_caller]
    pub fn then_document(self, key: &str, assert: impl FnOnce(&M)) -> Self {
        let Some(json) = self.document(key) else { self.is_not(key, "a document") };
        match delivery::read(key, json) {
            Ok(document) => assert(&document),
            Err(fault) => panic!("{fault}"),
        }
        self
    }

    /// Asserts that this key has no document.
    #[track_caller]
    pub fn then_no_document(self, key: &str) -> Self {
        match self.saved.documents.contains_key(key) || self.saved.parked(key).is_some() {
            false => self,
            true => self.is_not(key, "no document"),
        }
    }

    /// Asserts that this key is parked, because one of its events cannot be applied. `reason` is a
    /// part of the reason.
    #[track_caller]
    pub fn then_parked(self, key: &str, reason: &str) -> Self {
        match self.saved.parked(key) {
            Some(found) if found.contains(reason) => self,
            _ => self.is_not(key, &format!("parked ({reason})")),
        }
    }

    /// Returns the document of a key that is not parked.
    fn document(&self, key: &str) -> Option<&str> {
        let is_parked = self.saved.parked(key).is_some();
        self.saved.documents.get(key).filter(|_| !is_parked).map(String::as_str)
    }

    #[track_caller]
    fn is_not(&self, key: &str, expected: &str) -> ! {
        let Self { saved, given, .. } = self;
        let folded = saved.shown(key);
        panic!("given {given:#?}\n  {key:?} expected {expected}\n  {key:?} folded   {folded}")
    }
}
