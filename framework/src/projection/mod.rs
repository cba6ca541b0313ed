//! The contract of a projection: tables of your own, filled by your own SQL.
//!
//! Rows and checkpoint commit in one transaction, so each event is applied exactly once, however
//! often the process dies. Each version has a database place of its own: a file beside the log on
//! SQLite, a schema on PostgreSQL. So table names need no version. Each version also has its own
//! connections, so a slow projection delays no other one. For one document per key, a read model is
//! less work.

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

/// SQL tables of your own that are filled from events, such as the statement of an account.
///
/// The rows commit in the transaction of the checkpoint, so each event is applied exactly once.
/// Register a projection with [`ApplicationBuilder::projection`](crate::ApplicationBuilder) and read
/// its rows with [`Application::query`](crate::Application::query). It needs SQLite or PostgreSQL,
/// because the memory store has no SQL: an application on it does not start with a projection.
/// `testing::ProjectionScenario` tests it. The trait needs the crate `async-trait`.
///
/// Raise `VERSION` when the tables or their meaning change. They are then built again from the first
/// event, beside the old ones.
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

    /// Version of the tables and their meaning.
    const VERSION: u32 = 1;

    /// Number of partitions that the keys are divided into, 1 to 1024. One process at a time owns a
    /// partition. The number belongs to the version: to change it, raise `VERSION`. On SQLite more
    /// than one partition is not faster, because there is one writer at a time.
    const PARTITIONS: u32 = 1;

    /// Event that [`Projection::project`] gets: the envelope `EventEnvelope<AccountEvent>`, or an
    /// enum of your own with a `From` for the envelope of each aggregate that is followed.
    type Event: Send + Sync + 'static;

    /// Returns the aggregates to follow: `EventSources::of::<Account>()`, and `.and::<Transfer>()`
    /// for more.
    fn sources() -> EventSources<Self::Event>;

    /// Creates the tables. Runs once, in the transaction that creates the version's file or schema,
    /// so table names need no prefix.
    ///
    /// # Errors
    /// Any error. The application then does not start.
    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError>;

    /// Returns the rows to compare, one by one, when a new version is built beside the active one.
    /// Without any, only the rows of each table are counted.
    fn compared() -> &'static [ComparedRows] {
        &[]
    }

    /// Applies events of one partition to the tables, in the order of the log, each exactly once.
    /// The runtime chooses the size of a batch, so the rows must not depend on it. They must depend
    /// on nothing but the events and the tables.
    ///
    /// If it fails or panics, the batch is rolled back and the runtime tries smaller parts. An event
    /// that fails alone parks its key, and all other events are applied. If the database failed, the
    /// whole batch is repeated.
    ///
    /// # Errors
    /// Any error: an event cannot be applied. The message is shown with the parked key.
    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError>;
}

/// Rows that must be equal in two versions of a projection; see [`Projection::compared`].
///
/// Both versions use the same table name, each with columns of its own. Columns of the old version
/// may be expressions that compute the value which the new version should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComparedRows {
    /// Name of the table.
    pub table: &'static str,
    /// Columns that identify a row, such as those of the primary key. None of them may be NULL. With
    /// an index on them the comparison reads each row once.
    pub key: &'static [&'static str],
    /// Columns that are compared, or expressions of columns.
    pub columns: &'static [&'static str],
}
