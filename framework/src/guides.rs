//! Guides for tasks that span several parts of an application. Their programs are run as tests.

/// Changing event types while old events stay readable.
#[cfg(feature = "testing")]
#[doc = include_str!("../docs/guides/evolving-events.md")]
pub mod evolving_events {}

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
