//! Guides for tasks that span several parts of an application. Their programs are run as tests.
//!
//! The tour is on the [front page of the crate](crate), and the guide for a store of your own is the
//! page of [`store`](crate::store).

/// Changing event types while old events stay readable.
#[cfg(feature = "testing")]
#[doc = include_str!("../docs/guides/evolving-events.md")]
pub mod evolving_events {}

/// Event handlers, process managers, deadlines and scheduled commands.
#[cfg(feature = "testing")]
#[doc = include_str!("../docs/guides/reacting.md")]
pub mod reacting {}

/// Rolling out a release, and a new version of a read model.
#[doc = include_str!("../docs/guides/deploying.md")]
pub mod deploying {}

/// Keeping copies of the log, and going back to one.
#[cfg(feature = "sqlite")]
#[doc = include_str!("../docs/guides/backup.md")]
pub mod backup {}

/// Authenticators, scopes and operators.
#[cfg(feature = "web")]
#[doc = include_str!("../docs/guides/authentication.md")]
pub mod authentication {}

/// The operations API, alerts, parked keys and stops.
#[doc = include_str!("../docs/guides/operating.md")]
pub mod operating {}

/// The design: the life of a command and of an event, the invariants, and the tests of each promise.
#[doc = include_str!("../docs/architecture.md")]
pub mod architecture {}

/// The reasons behind the design, with figures and rejected options.
#[doc = include_str!("../docs/decisions.md")]
pub mod decisions {}
