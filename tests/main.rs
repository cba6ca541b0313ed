//! Everything that is tested across crates, as one binary.

mod aggregates;
mod bank;
mod chaos;
mod contract;
mod deferred;
mod edge;
mod handlers;
mod operations;
mod process_managers;
mod processes;
mod read_side;
mod readme;
mod store;
mod support;
mod tidy;
mod transfers;
