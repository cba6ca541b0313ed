//! What is particular to PostgreSQL, against real servers.

mod readme;
pub mod server;
