//! The stores: adapters of the log's contract to memory and to databases.

pub(crate) mod contract;
pub(crate) mod handles;
pub(crate) mod kit;
pub(crate) mod memory;
mod open;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod sql;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

pub use self::open::open;
