//! Test support for applications built on this crate: aggregates by [`Scenario`], read models by
//! [`ReadModelScenario`], projections by [`ProjectionScenario`], process managers by
//! [`ProcessScenario`], stores by [`conformance`], and
//! applications with an [`InterceptedStore`], a [`FaultyStore`] and a [`ManualClock`].
//!
//! All failures are panics at the caller's line, so use this module in tests only.
//!
//! # On a database
//!
//! A test of a whole application needs a log of its own, because events stay in a log. On SQLite
//! that is a new file, on PostgreSQL a new schema. This function takes the database from a variable,
//! so the same test runs on both:
//!
//! ```no_run
//! # #[cfg(feature = "postgres")] mod test {
//! use actum::store::PostgresOptions;
//! use actum::{AnyStore, StartError};
//!
//! /// Opens an empty store; `test` differs for each test of the process.
//! async fn store(test: &str) -> Result<AnyStore, StartError> {
//!     let name = format!("test_{test}_{}", std::process::id());
//!     match std::env::var("TEST_DATABASE") {
//!         Ok(url) => Ok(PostgresOptions::new(&url).schema(&name).open().await?.into()),
//!         Err(_) => {
//!             let folder = std::env::temp_dir();
//!             actum::open(&format!("sqlite:{}/{name}.db", folder.display())).await
//!         }
//!     }
//! }
//! # }
//! # fn main() {}
//! ```
//!
//! `DROP SCHEMA … CASCADE` removes such a schema; each projection has a schema beside it.

mod application;
mod clock;
pub mod conformance;
mod double;
mod faulty;
mod given;
mod intercepted;
mod process;
#[cfg(feature = "sqlite")]
mod projection;
mod read_model;
mod scenario;
mod stored;

pub use self::application::TestApplication;
pub use self::clock::ManualClock;
pub use self::double::MockStore;
pub use self::faulty::{Fault, Faults, FaultyStore};
pub use self::intercepted::{InterceptedStore, Interceptor};
pub use self::process::ProcessScenario;
#[cfg(feature = "sqlite")]
pub use self::projection::{ProjectionScenario, Rows};
pub use self::read_model::{Documents, ReadModelScenario};
pub use self::scenario::{Scenario, Then, When};
