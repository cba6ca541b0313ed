//! Test support for applications built on this crate: aggregates by [`Scenario`], read models by
//! [`ReadModelScenario`], projections by [`ProjectionScenario`], stores by [`conformance`], and
//! applications with a [`FaultyStore`] and a [`ManualClock`].
//!
//! All failures are panics at the caller's line, so use this module in tests only.

mod clock;
pub mod conformance;
mod double;
mod faulty;
mod given;
#[cfg(feature = "sqlite")]
mod projection;
mod read_model;
mod scenario;
mod stored;

pub use self::clock::ManualClock;
pub use self::double::MockStore;
pub use self::faulty::{Fault, FaultyStore};
#[cfg(feature = "sqlite")]
pub use self::projection::{ProjectionScenario, Rows};
pub use self::read_model::{Documents, ReadModelScenario};
pub use self::scenario::{Scenario, Then, When};
