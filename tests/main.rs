//! Everything that is tested across crates, as one binary.

mod aggregates;
mod bank;
mod bank_input;
mod counter;
mod directory;
mod sqlite;
mod tidy;
