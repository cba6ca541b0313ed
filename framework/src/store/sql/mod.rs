//! Stores on SQL databases: the only place that names sqlx.
//!
//! What is equal for all databases stands here; a database's own folder spells what differs.

mod packed;
pub(crate) mod sqlite;
