//! Properties of the PostgreSQL store that no other store has, tested against real servers.

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
