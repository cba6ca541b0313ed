//! Everything that is tested across crates, as one binary.

mod aggregates;
mod counter;
mod tidy;
