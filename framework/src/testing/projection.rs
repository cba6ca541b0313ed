//! Tests of projections by values, on a database but without an application: given events, then
//! rows.
//!
//! The runtime itself processes the events several times: in other batches, each batch twice, and
//! with a crash between the rows and the checkpoint. So a projection whose rows depend on the way
//! of delivery fails in its first test.

mod place;
mod row;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use self::place::Place;
use self::row::{is_same, shown};
use super::given::Given;
use crate::aggregate::Aggregate;
use crate::error::BoxError;
use crate::event::EventEnvelope;
use crate::projection::Projection;
use crate::store::contract::sql::{SqlConnection, SqlRow};
use crate::store::contract::{AnyStore, Store};

/// Past events that a projection follows, each with the id of its aggregate, in the order of the
/// log.
///
/// ```
/// # use actum::{Aggregate, BoxError, EventEnvelope, EventSources, Projection, SqlConnection};
/// # use actum::testing::ProjectionScenario;
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
/// # struct Bookings;
/// # #[async_trait::async_trait]
/// # impl Projection for Bookings {
/// #     const NAME: &'static str = "bookings";
/// #     type Event = EventEnvelope<Event>;
/// #     fn sources() -> EventSources<Self::Event> { EventSources::of::<Account>() }
/// #     async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
/// #         db.execute("CREATE TABLE bookings (account TEXT, number BIGINT, amount BIGINT)", &[]).await?;
/// #         Ok(())
/// #     }
/// #     async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
/// #         let rows = events.iter().map(|event| {
/// #             let amount = match event.event {
/// #                 Credited { amount } => amount,
/// #                 Withdrawn { amount } => -amount,
/// #             };
/// #             vec![event.stream.id().into(), event.version.into(), amount.into()]
/// #         });
/// #         db.insert("bookings", &["account", "number", "amount"], rows.collect(), "").await?;
/// #         Ok(())
/// #     }
/// # }
/// ProjectionScenario::<Bookings>::given::<Account>([
///     ("42", Credited { amount: 100 }),
///     ("42", Withdrawn { amount: 30 }),
/// ])
/// .then("SELECT number, amount FROM bookings WHERE account = '42' ORDER BY number", [(1, 100), (2, -30)])
/// .then_no_rows("SELECT * FROM bookings WHERE account = '7'");
/// ```
///
/// The events are recorded one second apart, starting at the beginning of 2000. The tables are in a
/// temporary SQLite file, or in the store given to [`ProjectionScenario::on`]. Use dozens of events
/// at most.
#[must_use = "say what is expected: .then(query, rows), .then_parked(key, reason), …"]
pub struct ProjectionScenario<P> {
    given: Given,
    store: Option<Arc<dyn Store>>,
    projection: PhantomData<fn() -> P>,
}

/// Resulting rows, to be asserted.
pub struct Rows<P> {
    place: Place,
    given: Vec<String>,
    /// Reasons of the parked keys that the test has not asserted yet.
    parked: BTreeMap<String, String>,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> ProjectionScenario<P> {
    /// Starts with these past events of one aggregate type.
    #[track_caller]
    pub fn given<A: Aggregate>(
        events: impl IntoIterator<Item = (impl AsRef<str>, A::Event)>,
    ) -> Self
    where
        P::Event: From<EventEnvelope<A::Event>>,
        A::Event: Debug + PartialEq,
    {
        let given = Given::default();
        Self { given, store: None, projection: PhantomData }.and::<A>(events)
    }

    /// Adds later events of one aggregate type.
    #[track_caller]
    pub fn and<A: Aggregate>(
        mut self,
        events: impl IntoIterator<Item = (impl AsRef<str>, A::Event)>,
    ) -> Self
    where
        P::Event: From<EventEnvelope<A::Event>>,
        A::Event: Debug + PartialEq,
    {
        self.given.happen::<A>(P::NAME, P::sources().routes.aggregate_types(), events);
        self
    }

    /// Creates the tables in this store instead of a temporary SQLite file: in a `PostgresStore` on a
    /// test database, or in the result of [`open`](crate::open). Its log must be empty. The tables are dropped at the end. Only one
    /// test at a time can use the store.
    pub fn on(mut self, store: impl Into<AnyStore>) -> Self {
        self.store = Some(store.into().into_inner());
        self
    }

    #[track_caller]
    fn take_in(self) -> Rows<P> {
        let Given { events, shown } = self.given;
        match Place::of::<P>(self.store, &events) {
            Ok((place, parked)) => Rows { place, given: shown, parked, projection: PhantomData },
            Err(fault) => panic!("given {shown:#?}\n  {fault}"),
        }
    }

    /// Asserts that the query returns exactly these rows (tuples), in this order.
    #[track_caller]
    pub fn then<R: Into<SqlRow>>(self, query: &str, rows: impl IntoIterator<Item = R>) -> Rows<P> {
        self.take_in().then(query, rows)
    }

    /// Asserts that the query returns no rows.
    #[track_caller]
    pub fn then_no_rows(self, query: &str) -> Rows<P> {
        self.take_in().then_no_rows(query)
    }

    /// Passes a connection to `ask`, for example to test the projection's own queries.
    #[track_caller]
    pub fn then_asked(
        self,
        ask: impl AsyncFnOnce(&mut SqlConnection<'_>) -> Result<(), BoxError> + Send,
    ) -> Rows<P> {
        self.take_in().then_asked(ask)
    }

    /// Asserts that this key is parked, because one of its events cannot be applied. `reason` is a
    /// part of the description: the event, the reason, and the number of events that wait behind
    /// it. Assert all parked keys before the rows.
    #[track_caller]
    pub fn then_parked(self, key: &str, reason: &str) -> Rows<P> {
        self.take_in().then_parked(key, reason)
    }
}

impl<P: Projection> Rows<P> {
    /// Asserts that the query returns exactly these rows (tuples), in this order.
    #[track_caller]
    pub fn then<R: Into<SqlRow>>(self, query: &str, rows: impl IntoIterator<Item = R>) -> Self {
        self.nothing_is_parked();
        let expected: Vec<SqlRow> = rows.into_iter().map(Into::into).collect();
        match self.place.rows(query) {
            Ok(found) if is_same(&found, &expected) => self,
            Ok(found) => {
                let (expected, found) = (shown(&expected), shown(&found));
                let given = &self.given;
                panic!("given {given:#?}\n  {query}\n  expected {expected}\n  found    {found}")
            }
            Err(error) => panic!("{query}: {error}"),
        }
    }

    /// Asserts that the query returns no rows.
    #[track_caller]
    pub fn then_no_rows(self, query: &str) -> Self {
        self.then::<SqlRow>(query, [])
    }

    /// Passes a connection to `ask`, for example to test the projection's own queries.
    #[track_caller]
    pub fn then_asked(
        self,
        ask: impl AsyncFnOnce(&mut SqlConnection<'_>) -> Result<(), BoxError> + Send,
    ) -> Self {
        self.nothing_is_parked();
        match self.place.ask(ask) {
            Ok(()) => self,
            Err(error) => panic!("given {:#?}\n  asked: {error}", self.given),
        }
    }

    /// Asserts that this key is parked, because one of its events cannot be applied. `reason` is a
    /// part of the description: the event, the reason, and the number of events that wait behind
    /// it. Assert all parked keys before the rows.
    #[track_caller]
    pub fn then_parked(mut self, key: &str, reason: &str) -> Self {
        let found = self.parked.remove(key);
        match &found {
            Some(found) if found.contains(reason) => self,
            _ => {
                let (given, found) = (&self.given, found.as_deref().unwrap_or("not parked"));
                panic!(
                    "given {given:#?}\n  {key:?} expected parked ({reason})\n  {key:?} is {found}"
                )
            }
        }
    }

    #[track_caller]
    fn nothing_is_parked(&self) {
        let Self { parked, given, .. } = self;
        assert!(
            parked.is_empty(),
            "given {given:#?}\n  some keys are parked; assert them with .then_parked(…) if that \
             is expected: {parked:#?}"
        );
    }
}
