//! Stores on SQL databases: the only place that names sqlx.
//!
//! What is equal for all databases stands here; a database's own folder spells what differs.

mod found;
mod lent;
mod migrations;
mod numbers;
#[cfg(feature = "sqlite")]
mod packed;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
