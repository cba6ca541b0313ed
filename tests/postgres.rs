//! What is particular to PostgreSQL, against real servers.

pub mod server;
