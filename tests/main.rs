//! Everything that is tested across crates, as one binary.

mod aggregates;
mod bank;
mod bank_input;
mod conformance;
mod counter;
mod directory;
mod read_models;
mod sqlite;
mod tidy;
