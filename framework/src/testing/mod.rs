//! Testing what is built on this crate: aggregates by [`Scenario`], read models by
//! [`ReadModelScenario`], projections by [`ProjectionScenario`], stores by [`conformance`], applications against a [`FaultyStore`] and a [`ManualClock`].
//!
//! Everything here fails by panicking, at the caller's line: it belongs into tests.

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

pub use clock::ManualClock;
pub use double::MockStore;
pub use faulty::{Fault, FaultyStore};
#[cfg(feature = "sqlite")]
pub use projection::{ProjectionScenario, Rows};
pub use read_model::{Documents, ReadModelScenario};
pub use scenario::{Scenario, Then, When};
