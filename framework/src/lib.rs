//! Actum: applications whose state is a log of events.
//!
//! Write an [`Aggregate`] that decides commands and folds events, a [`ReadModel`] with documents or
//! a [`Projection`] with SQL tables of your own, and start an [`Application`] on a store. Commands
//! become durable events in one global order. Read models and projections follow them and resume
//! after any crash. `framework/docs/architecture.md` explains the design.
//!
//! All public items are listed here. Cargo features only add items:
//! * `sqlite` (default): `store::SqliteStore`, the embedded database.
//! * `postgres`: `store::PostgresStore`, for several processes on one log.
//! * `postgres-tls`: the same over TLS, with `?sslmode=require` or stricter in its URL.
//! * `web`: the module `web`: requests and answers, routes and their OpenAPI document, API keys, and the
//!   server around them with its operations API.
//! * `web-tls`: TLS on the server's public address.
//! * `jwt`: `web::Jwt`, which authenticates people by the tokens of their issuer.
//! * `prometheus`: `web::Prometheus`, the metrics at `/metrics` of the operations API.
//! * `webhooks`: the module `webhook`: signed calls to addresses that strangers chose.
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
pub use self::application::{Application, ApplicationBuilder, List, Query, Read};
pub use self::command::{Claim, CommandKey, CommandOptions, Committed, NoRefusal, RefusalCode};
pub use self::deferred::{CallbackState, CallbackStatus, CommandState, CommandStatus};
pub use self::error::{BoxError, CommandError, ReadError, StartError, StoreError};
pub use self::event::codec::Upcaster;
pub use self::event::{
    EventEnvelope, ExpectedVersion, GlobalPosition, Metadata, StreamId, StreamVersion,
};
pub use self::live::{Changed, LiveChanges, LiveDocument, LiveEvents};
pub use self::projection::{ComparedRows, Projection};
pub use self::read_model::{Document, DocumentPage, Fold, ReadModel, Sources};
pub use self::settings::Settings;
pub use self::store::contract::sql::{SqlConnection, SqlError, SqlRow, SqlValue};
pub use self::store::contract::{AnyStore, DocumentRange, Snapshots};
pub use self::store::open::open;
pub use self::subscription::sources::{EventKeys, EventSources};

/// Names for operators: status and readiness, parked keys, and versions of read models and
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
        Comparison, Difference, ParkedKey, ParkedRequest, SkippedEvent, Version,
    };
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
