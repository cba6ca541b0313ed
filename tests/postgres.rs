//! What is particular to PostgreSQL, against real servers.

mod batches;
mod ledger;
mod opening;
mod readme;
pub mod server;
mod settings;
