//! Aggregates through an application: order, conflicts, panics, failing stores, loading, batching,
//! and command keys that expire.

mod actors;
mod competing;
mod faults;
mod isolation;
mod loading;
mod pruning;
mod rounds;
