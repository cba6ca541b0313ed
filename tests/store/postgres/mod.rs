//! What is particular to PostgreSQL, against real servers.

mod batches;
mod disk;
mod doubt;
mod epoch;
mod history;
mod ledger;
mod neighbours;
mod opening;
mod restored;
mod schemas;
mod servers;
mod settings;
mod tls;
mod values;
