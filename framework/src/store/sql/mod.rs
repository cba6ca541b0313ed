//! Stores on SQL databases: the only place that names sqlx.
//!
//! What is equal for all databases stands here; a database's own folder spells what differs.

pub(crate) mod found;
pub(crate) mod lent;
pub(crate) mod migrations;
pub(crate) mod numbers;
#[cfg(feature = "sqlite")]
pub(crate) mod packed;
