//! Parts for stores: the rules that are the same whatever keeps the data, as plain code.
//!
//! Nothing in here performs I/O but [`group_commit`], and that only through the
//! [`Writer`](group_commit::Writer) it is given. The stores of this crate are built from the same parts.
//!
//! | part | answers the question |
//! |---|---|
//! | [`version_check`] | Which of these appends are stored, with which versions and positions? |
//! | [`claims`] | Which claims do they take and release? |
//! | [`pages`] | Which events fit in a page? |
//! | [`checkpoint_rule`] | Does this checkpoint update continue from the stored one? |
//! | [`parked_keys`] | What do these changes make of the parked keys of a model? |
//! | [`open_work`] | What do these changes make of the open work of a partition? |
//! | [`event_log`], [`read_side`] | How does a store look that keeps everything in memory? |
//! | [`list`] | Which documents are in a page of a list? |
//! | [`leases`] | Who holds a lease? For stores that one process writes to. |
//! | [`versions`] | Which version of a read model is active? |
//! | [`handles`] | Was this handle of the store ever cloned? |
//! | [`group_commit`] | How do concurrent writers share a transaction? |

pub mod checkpoint_rule;
pub mod claims;
pub mod event_log;
pub mod group_commit;
pub mod handles;
pub mod leases;
pub mod list;
pub mod open_work;
pub mod pages;
pub mod parked_keys;
pub mod read_side;
pub mod version_check;
pub mod versions;
