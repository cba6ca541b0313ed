//! What is particular to PostgreSQL, against real servers.

mod batches;
mod disk;
mod doubt;
mod ledger;
mod neighbours;
mod opening;
mod readme;
mod schemas;
pub mod server;
mod servers;
mod settings;
mod tls;
mod values;
