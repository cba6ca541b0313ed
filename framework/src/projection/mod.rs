//! The contract of a projection: tables of your own, filled by your own SQL.
//!
//! Rows and checkpoint commit in one transaction, so each event is taken in exactly once, however
//! often the process dies. Each version has a place of its own, a file beside the log on SQLite, a
//! schema on PostgreSQL, and connections of its own: table names need no version, and a slow
//! projection holds up nobody. For one document per key a read model is less work.

pub(crate) mod batch;
pub(crate) mod compare;
#[cfg(all(feature = "testing", feature = "sqlite"))]
pub(crate) mod delivery;
pub(crate) mod drain;
pub(crate) mod follower;
pub(crate) mod handle;
pub(crate) mod project;
pub(crate) mod query;
pub(crate) mod served;
pub(crate) mod start;
#[cfg(all(test, feature = "sqlite"))]
pub(crate) mod tests;

#[cfg(all(feature = "testing", feature = "sqlite"))]
pub(crate) use self::delivery::Delivery;
#[cfg(all(feature = "testing", feature = "sqlite"))]
pub(crate) use self::delivery::deliver;
pub(crate) use self::handle::ProjectorHandle;
pub(crate) use self::served::{RowVersions, ServedProjection};

use async_trait::async_trait;

use crate::error::BoxError;
use crate::store::contract::sql::SqlConnection;
use crate::subscription::sources::EventSources;

/// Rows made from events, such as the statement of an account.
///
/// Raise `VERSION` when the tables or what they mean change: they are then built again from the
/// first event, in a place of their own beside the old ones.
///
/// ```
/// # use actum::Aggregate;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Clone)] struct Account;
/// # #[derive(PartialEq, Serialize, Deserialize)] enum Event { Credited { amount: i64 } }
/// # impl Aggregate for Account {
/// #     const TYPE: &'static str = "account";
/// #     type Command = i64; type Event = Event; type Error = std::fmt::Error;
/// #     fn handle(&self, amount: i64) -> Result<Vec<Event>, std::fmt::Error> {
/// #         Ok(vec![Event::Credited { amount }])
/// #     }
/// #     fn apply(&mut self, _: &Event) {}
/// # }
/// use actum::{BoxError, EventEnvelope, EventSources, Projection, SqlConnection};
///
/// struct Bookings;
///
/// #[async_trait::async_trait]
/// impl Projection for Bookings {
///     const NAME: &'static str = "bookings";
///     type Event = EventEnvelope<Event>;
///
///     fn sources() -> EventSources<Self::Event> {
///         EventSources::of::<Account>()
///     }
///
///     async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
///         db.execute("CREATE TABLE bookings (account TEXT, amount BIGINT)", &[]).await?;
///         Ok(())
///     }
///
///     async fn project(
///         events: &[Self::Event],
///         db: &mut SqlConnection<'_>,
///     ) -> Result<(), BoxError> {
///         let row = |event: &Self::Event| {
///             let Event::Credited { amount } = event.event;
///             vec![event.stream.id().into(), amount.into()]
///         };
///         db.insert("bookings", &["account", "amount"], events.iter().map(row).collect(), "").await?;
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Projection: Send + Sync + 'static {
    /// Name in the database, in logs and in errors: lower-case letters, digits and `_`, a letter
    /// first.
    const NAME: &'static str;

    /// The version of its tables and of what they mean.
    const VERSION: u32 = 1;

    /// In how many partitions the keys are taken in, each by one process at a time. Fixed for ever.
    /// On SQLite one writes at a time, so more than one wins nothing there.
    const PARTITIONS: u32 = 1;

    /// Event that it applies: the envelope `EventEnvelope<AccountEvent>`, or an enum with a `From` for
    /// the envelope of each aggregate it follows.
    type Event: Send + Sync + 'static;

    /// Sources that it follows: `EventSources::of::<Account>()`, and `.and::<Transfer>()` for more.
    fn sources() -> EventSources<Self::Event>;

    /// Makes its tables. Run once, in the transaction that makes its place.
    ///
    /// # Errors
    /// The application does not start.
    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError>;

    /// Which rows are compared, one by one, when a new version stands beside the one that serves. If
    /// none are named, the rows of each table are counted.
    fn compared() -> &'static [ComparedRows] {
        &[]
    }

    /// Takes in events, in the order of the log: of one partition, and never the same twice. How
    /// many come at once is not its concern, so the rows may not depend on it. The result may depend
    /// on nothing but the events and the tables.
    ///
    /// If it fails or panics, what it did is undone and the events are tried apart: the one that
    /// fails alone parks its key, and the others flow. If the database is what failed, all of it is
    /// done again.
    ///
    /// # Errors
    /// An event cannot be taken in; the message is shown with the parked key.
    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError>;
}

/// Rows that two versions of a projection have in common, if their events mean the same in both.
///
/// Both versions name them by the same table, each with columns of its own: those of the old one may be
/// expressions that make of its row what the new one should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComparedRows {
    /// The table.
    pub table: &'static str,
    /// The columns that tell one row from all others, such as those of the primary key: with an index
    /// on them the comparison reads each row once. None of them is ever NULL.
    pub key: &'static [&'static str],
    /// Columns that are compared, or expressions of columns.
    pub columns: &'static [&'static str],
}
