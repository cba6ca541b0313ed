//! Actum: applications whose state is a log of events.
//!
//! An [`Aggregate`] decides commands and appends events to one durable log without gaps. A
//! [`ReadModel`] folds the log into documents, a [`Projection`] into SQL tables of your own, and a
//! read can include your own writes. An [`EventHandler`] acts outside because of an event. The log
//! is in SQLite, which is embedded, or in PostgreSQL, which several processes can share.
//!
//! # A tour in ten minutes
//!
//! `Cargo.toml` needs the following. A C compiler is needed too, because SQLite is compiled in.
//!
//! ```toml
//! [dependencies]
//! actum = { version = "0.1", features = ["web"] }
//! actix-web = { version = "4", default-features = false, features = ["macros"] }
//! async-trait = "0.1" # for projections
//! serde = { version = "1", features = ["derive"] }
//! thiserror = "2"
//!
//! [dev-dependencies]
//! actum = { version = "0.1", features = ["testing"] }
//! ```
//!
//! ## 1. An aggregate decides
//!
//! [`Aggregate::handle`] returns the events of a command, or refuses it. [`Aggregate::apply`] folds
//! events into the state, both now and when the aggregate is loaded again.
//!
//! ```
//! use actum::Aggregate;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Clone)]
//! struct Account { cents: i64 }
//!
//! #[derive(Clone)]
//! enum Command { Credit { cents: i64 }, Withdraw { cents: i64 } }
//!
//! #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
//! enum Event { Credited { cents: i64 }, Withdrawn { cents: i64 } }
//!
//! #[derive(Debug, PartialEq, Serialize, thiserror::Error)]
//! #[error("the account has only {0} cents")]
//! struct InsufficientFunds(i64);
//!
//! impl Aggregate for Account {
//!     const TYPE: &'static str = "account";
//!     type Command = Command;
//!     type Event = Event;
//!     type Error = InsufficientFunds;
//!
//!     fn handle(&self, command: Command) -> Result<Vec<Event>, InsufficientFunds> {
//!         match command {
//!             Command::Credit { cents } => Ok(vec![Event::Credited { cents }]),
//!             Command::Withdraw { cents } if cents > self.cents => Err(InsufficientFunds(self.cents)),
//!             Command::Withdraw { cents } => Ok(vec![Event::Withdrawn { cents }]),
//!         }
//!     }
//!
//!     fn apply(&mut self, event: &Event) {
//!         match event {
//!             Event::Credited { cents } => self.cents += cents,
//!             Event::Withdrawn { cents } => self.cents -= cents,
//!         }
//!     }
//! }
//! ```
//!
//! ## 2. A test needs values only
//!
//! A decision is a function of state and command, so its test needs no runtime and no database. The
//! [`testing`] module has the same for read models and projections.
//!
//! ```
//! # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
//! # use tour::*;
//! # #[cfg(feature = "testing")] {
//! use actum::testing::Scenario;
//!
//! Scenario::<Account>::given([Event::Credited { cents: 100 }])
//!     .when(Command::Withdraw { cents: 200 })
//!     .then_refused(InsufficientFunds(100));
//! # }
//! ```
//!
//! ## 3. A read model answers questions
//!
//! [`Sources`] names the aggregates that a read model follows and the key of each event's document,
//! by default the id of its aggregate. A [`Fold`] applies one event to one document.
//!
//! ```
//! # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
//! # use tour::{Account, Event};
//! use actum::{EventEnvelope, Fold, ReadModel, Sources};
//! # use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
//! struct Balance { cents: i64 }
//!
//! impl ReadModel for Balance {
//!     const NAME: &'static str = "balance";
//!     fn sources() -> Sources<Self> { Sources::of::<Account>() }
//! }
//!
//! impl Fold<Account> for Balance {
//!     fn apply(&mut self, event: &EventEnvelope<Event>) {
//!         match event.event {
//!             Event::Credited { cents } => self.cents += cents,
//!             Event::Withdrawn { cents } => self.cents -= cents,
//!         }
//!     }
//! }
//! ```
//!
//! ## 4. An application runs both
//!
//! [`open`] takes `memory:`, `sqlite:bank.db` or `postgres://user:password@host/database`; the rest
//! of the program is the same. [`Read::after`] makes the read wait until it includes the write.
//!
//! ```
//! # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
//! # use tour::*;
//! use actum::Application;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), actum::BoxError> {
//! let app = Application::builder(actum::open("memory:").await?)
//!     .aggregate::<Account>()
//!     .read_model::<Balance>()
//!     .start()
//!     .await?;
//! let committed = app.execute::<Account>("42", Command::Credit { cents: 1250 }).await?;
//! let balance = app.read::<Balance>("42").after(committed.position).await?;
//! assert_eq!(balance.cents, 1250);
//! app.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! ## 5. A retry is safe
//!
//! A [`CommandKey`] names one intended change, so the command is carried out once however often it
//! is sent. [`CommandOptions`] also has an expected version and metadata.
//!
//! ```
//! # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
//! # use tour::*;
//! # use actum::Application;
//! use actum::{CommandKey, CommandOptions};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), actum::BoxError> {
//! # let app = Application::builder(actum::open("memory:").await?).aggregate::<Account>().start().await?;
//! let credit = Command::Credit { cents: 1250 };
//! let options = CommandOptions::keyed(CommandKey::new("payment-7", b"credit 42 1250")?);
//! let first = app.execute_with::<Account>("42", credit.clone(), options.clone()).await?;
//! let again = app.execute_with::<Account>("42", credit, options).await?;
//! assert!(again.replayed && again.version == first.version);
//! # Ok(()) }
//! ```
//!
//! ## 6. Over HTTP
//!
//! [`web`] has extractors for commands and reads, and a server with authentication, limits and an
//! operations API. Its front page shows a complete program and how to test its routes.
//!
//! ```no_run
//! # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
//! # use tour::*;
//! # use actum::{Application, RefusalCode};
//! # #[cfg(feature = "web")]
//! # mod http {
//! # use super::*;
//! use actix_web::web::{Data, Path};
//! use actum::web::{CommandAnswer, CommandTo, DocumentAnswer, Freshness, NoBody, Problem};
//! use actum::web::{Routes, Server};
//!
//! impl RefusalCode for InsufficientFunds {} // over HTTP: 422 `insufficient_funds`
//!
//! async fn empty(account: CommandTo<Account>, _: NoBody) -> Result<CommandAnswer, Problem> {
//!     account.execute(Command::Withdraw { cents: 100 }, &()).await
//! }
//!
//! async fn balance(
//!     app: Data<Application>, id: Path<String>, freshness: Freshness,
//! ) -> Result<DocumentAnswer<Balance>, Problem> {
//!     Ok(freshness.read(&app, &id).await?)
//! }
//!
//! # pub async fn serve(app: Application) -> Result<(), actum::BoxError> {
//! let routes = Routes::new().post("/accounts/{id}/empty", empty).get("/accounts/{id}", balance);
//! Server::new(app).routes(routes).serve("127.0.0.1:8080").run().await?;
//! # Ok(()) }
//! # }
//! # fn main() {}
//! ```
//!
//! ## 7. In production
//!
//! [`Application::operations`] has what operators use, and the operations API offers the same over
//! HTTP. An event that cannot be applied stops one key only, until a release can apply it. A read
//! model or event handler can be paused, and a handler can handle events again from a position. Log lines
//! and spans are events of `tracing`, so install a subscriber, such as `tracing_subscriber::fmt()`.
//!
//! ```
//! # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
//! # use tour::*;
//! # use actum::Application;
//! # #[tokio::main]
//! # async fn main() -> Result<(), actum::BoxError> {
//! # let app = Application::builder(actum::open("memory:").await?)
//! #     .aggregate::<Account>().read_model::<Balance>().start().await?;
//! let status = app.operations().status().await;
//! assert_eq!(status.subscriptions[0].name, "balance");
//! assert!(app.operations().parked("balance").await?.is_empty());
//! # Ok(()) }
//! ```
//!
//! # Where to go from here
//!
//! | question | page |
//! |---|---|
//! | How do I keep rows in SQL tables of my own? | [`Projection`], [`Application::query`] |
//! | How do I act because of an event, such as sending a mail? | [`EventHandler`] |
//! | How does one thing lead to another, such as a transfer between accounts? | [`ProcessManager`], [`guides::reacting`] |
//! | How is a value unique, such as a user name? | [`Claim`] |
//! | How do I change events that are already stored? | [`guides::evolving_events`] |
//! | How do I roll out a release, or a new version of a read model? | [`guides::deploying`] |
//! | How do I authenticate clients? | [`guides::authentication`] |
//! | How do I run it, and what do I alert on? | [`guides::operating`] |
//! | How do I back up and restore? | [`guides::backup`] |
//! | How does it work inside? | [`guides::architecture`], [`guides::decisions`] |
//! | How do I write a store? | [`store`] |
//!
//! # Cargo features
//!
//! Features only add items:
//! * `sqlite` (default): `store::SqliteStore`, the embedded database.
//! * `postgres`: `store::PostgresStore`, for several processes on one log.
//! * `postgres-tls`: the same over TLS, with `?sslmode=require` or stricter in its URL.
//! * `web`: the module `web`: requests and responses, routes and their OpenAPI document, API keys,
//!   and the server around them with its operations API.
//! * `web-tls`: TLS on the server's public address.
//! * `jwt`: `web::Jwt`, which authenticates people by the tokens of their issuer.
//! * `prometheus`: `web::Prometheus`, the metrics at `/metrics` of the operations API.
//! * `webhooks`: the module `webhook`: signed calls to addresses that clients chose.
//! * `testing`: the module `testing`: `Scenario`, the conformance suite for stores, mocks and
//!   faults.
//! * `failpoints`: for the tests of Actum itself. The variable `ACTUM_CRASH_AT` then aborts the
//!   process, so no application should enable it.

mod aggregate;
mod application;
mod backoff;
mod box_error;
mod byte_budget;
mod catch_panic;
mod clock;
mod command;
mod deferred;
mod error;
mod event;
mod failpoints;
pub mod guides;
mod live;
pub mod metrics;
pub(crate) mod partition;
mod process;
mod projection;
pub(crate) mod reaction;
mod read_model;
mod settings;
mod spans;
mod status;
pub mod store;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod threads;
#[cfg(test)]
mod till;
mod versions;
#[cfg(feature = "web")]
pub mod web;
#[cfg(feature = "webhooks")]
pub mod webhook;

// Names for applications.
pub use self::aggregate::{Aggregate, Loaded};
pub use self::application::{Application, ApplicationBuilder, List, Query, Read, ScheduledCommand};
pub use self::command::{Claim, CommandKey, CommandOptions, Committed, NoRefusal, RefusalCode};
pub use self::deferred::{CallbackState, CallbackStatus, CommandState, CommandStatus};
pub use self::error::{BoxError, CommandError, ReadError, StartError, StoreError};
pub use self::event::codec::Upcaster;
pub use self::event::{
    EventEnvelope, ExpectedVersion, GlobalPosition, Metadata, StreamId, StreamVersion,
};
pub use self::live::{Changed, LiveChanges, LiveDocument, LiveEvents};
pub use self::process::{
    Correlation, Effects, ProcessManager, Reacts, Refused, Step, Story, StoryStep,
};
pub use self::projection::{ComparedRows, Projection};
pub use self::reaction::StartPosition;
pub use self::reaction::handler::{Attempt, EventHandler, HandlerSettings};
pub use self::read_model::{Document, DocumentPage, Fold, ReadModel, Sources};
pub use self::settings::Settings;
pub use self::store::contract::sql::{SqlConnection, SqlError, SqlRow, SqlValue};
pub use self::store::contract::{AnyStore, DocumentRange, Snapshots};
pub use self::store::open::open;
pub use self::subscription::sources::{EventKeys, EventSources};

/// Names for operators: status and readiness, parked keys, pauses, and versions of read models and
/// projections.
///
/// [`Application::operations`] returns an [`Operations`](operations::Operations), whose methods
/// return them.
pub mod operations {
    pub use crate::application::{Operations, Readiness, Stopped};
    pub use crate::error::OperationError;
    pub use crate::status::{
        LastError, LogStatus, MAX_LISTED_PARKED, ParkedStatus, PartitionStatus, Status,
        SubscriptionState, SubscriptionStatus,
    };
    pub use crate::store::contract::{
        Comparison, Difference, ParkedKey, ParkedRequest, Pause, SkippedEvent, Version,
    };
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
