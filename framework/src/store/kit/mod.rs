//! Parts that every store needs: the rules that are the same whatever keeps the data, as pure code.

pub(crate) mod checkpoint_rule;
pub(crate) mod claims;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod group_commit;
pub(crate) mod leases;
pub(crate) mod list;
pub(crate) mod parked_keys;
pub(crate) mod version_check;
