//! Helpers of all tests: clients, child processes, directories, ports, servers, a proxy between them,
//! and stores and aggregates made for tests.

pub mod bank;
pub mod certificate;
pub mod child;
pub mod counter;
pub mod directory;
pub mod events;
pub mod http;
pub mod place;
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod random;
pub mod raw;
pub mod receiver;
pub mod shim;
pub mod signal;
pub mod sse;
pub mod waiting;
pub mod watched;
