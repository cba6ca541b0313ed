//! Given events, then rows: a projection tested on a database of its own, without an application.
//!
//! The events are taken in by the runtime itself, again and again: in other batches, each batch twice,
//! and with a crash between the rows and the checkpoint. A projection whose rows depend on how its
//! events arrive fails in its first test.

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
use crate::store::contract::Store;
use crate::store::contract::sql::{SqlConnection, SqlRow};

/// Events that a projection follows, each with the id of its aggregate, in the order of the log.
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
/// The events are recorded a second apart, the first one at the beginning of 2000. The tables are in a
/// temporary SQLite file, or where [`ProjectionScenario::on`] says. Dozens of events are fine.
#[must_use = "say what is expected: .then(query, rows), .then_parked(key, reason), …"]
pub struct ProjectionScenario<P> {
    given: Given,
    store: Option<Arc<dyn Store>>,
    projection: PhantomData<fn() -> P>,
}

/// The rows that came of the events, some of them asserted; more can be asked for.
pub struct Rows<P> {
    place: Place,
    given: Vec<String>,
    /// Keys that are parked, and why, until a test names them.
    parked: BTreeMap<String, String>,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> ProjectionScenario<P> {
    /// These events of aggregates of one type have happened.
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

    /// After them, these have.
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

    /// Makes the tables in this store, such as a `PostgresStore` on a database that is there for
    /// tests: its log must be empty. They are dropped in the end; one test at a time can use it.
    pub fn on(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
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

    /// The query answers these rows: tuples, in the order the query gives them.
    #[track_caller]
    pub fn then<R: Into<SqlRow>>(self, query: &str, rows: impl IntoIterator<Item = R>) -> Rows<P> {
        self.take_in().then(query, rows)
    }

    /// The query answers no row.
    #[track_caller]
    pub fn then_no_rows(self, query: &str) -> Rows<P> {
        self.take_in().then_no_rows(query)
    }

    /// The tables are as `ask` asserts, with queries of its own: those of the projection, say.
    #[track_caller]
    pub fn then_asked(
        self,
        ask: impl AsyncFnOnce(&mut SqlConnection<'_>) -> Result<(), BoxError> + Send,
    ) -> Rows<P> {
        self.take_in().then_asked(ask)
    }

    /// This key is parked, because one of its events cannot be taken in; `reason` is part of what is
    /// told of it: the event, why, and how many wait behind it. Name all that are parked before rows
    /// are asked for.
    #[track_caller]
    pub fn then_parked(self, key: &str, reason: &str) -> Rows<P> {
        self.take_in().then_parked(key, reason)
    }
}

impl<P: Projection> Rows<P> {
    /// The query answers these rows: tuples, in the order the query gives them.
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

    /// The query answers no row.
    #[track_caller]
    pub fn then_no_rows(self, query: &str) -> Self {
        self.then::<SqlRow>(query, [])
    }

    /// The tables are as `ask` asserts, with queries of its own: those of the projection, say.
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

    /// This key is parked, because one of its events cannot be taken in; `reason` is part of what is
    /// told of it: the event, why, and how many wait behind it. Name all that are parked before rows
    /// are asked for.
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
            "given {given:#?}\n  not all of it is taken in; say .then_parked(…) if that is right: {parked:#?}"
        );
    }
}
