//! Test support for applications built on this crate: aggregates by [`Scenario`], read models by
//! [`ReadModelScenario`], projections by [`ProjectionScenario`], stores by [`conformance`], and
//! applications with an [`InterceptedStore`], a [`FaultyStore`] and a [`ManualClock`].
//!
//! All failures are panics at the caller's line, so use this module in tests only.

mod clock;
pub mod conformance;
mod double;
mod faulty;
mod given;
mod intercepted;
#[cfg(feature = "sqlite")]
mod projection;
mod read_model;
mod scenario;
mod stored;

pub use self::clock::ManualClock;
pub use self::double::MockStore;
pub use self::faulty::{Fault, Faults, FaultyStore};
pub use self::intercepted::{InterceptedStore, Interceptor};
#[cfg(feature = "sqlite")]
pub use self::projection::{ProjectionScenario, Rows};
pub use self::read_model::{Documents, ReadModelScenario};
pub use self::scenario::{Scenario, Then, When};
