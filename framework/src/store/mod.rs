//! The stores: adapters of the log's contract to memory and to databases.

pub(crate) mod advance;
pub(crate) mod claims;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod committer;
pub(crate) mod handles;
pub(crate) mod leases;
pub(crate) mod list;
pub(crate) mod memory;
pub(crate) mod parked;
pub(crate) mod plan;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod sql;
