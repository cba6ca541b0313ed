//! Testing what is built on this crate: aggregates by [`Scenario`], read models by
//! [`ReadModelScenario`], stores by [`conformance`], applications against a [`FaultyStore`] and a [`ManualClock`].
//!
//! Everything here fails by panicking, at the caller's line: it belongs into tests.

mod clock;
pub mod conformance;
mod double;
mod faulty;
mod read_model;
mod scenario;
mod stored;

pub use clock::ManualClock;
pub use double::MockStore;
pub use faulty::{Fault, FaultyStore};
pub use read_model::{Documents, ReadModelScenario};
pub use scenario::{Scenario, Then, When};
