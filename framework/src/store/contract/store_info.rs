//! Facts about a store: which log it is, who else can write to it, and its present condition.

use std::collections::BTreeMap;

use uuid::Uuid;

/// Identity of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    /// Made when the log was created; a copy shares it.
    pub log_id: Uuid,
    /// Raised by hand whenever a log is restored from a backup.
    pub epoch: u64,
}

/// Facts about a store and its present condition.
///
/// ```
/// # use actum::store::{LogIdentity, StoreInfo};
/// # fn f(identity: LogIdentity) -> StoreInfo {
/// let mut info = StoreInfo::new(identity);
/// info.is_sole_writer = true; // a lock on the file keeps other processes out
/// # info }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreInfo {
    /// Identity of the log. Never changes while the store is open.
    pub identity: LogIdentity,
    /// True if no other process can append while this store is open. Never changes. The default is
    /// false, which is always safe: decisions are then confirmed against the log, and partitions
    /// are assigned through leases.
    pub is_sole_writer: bool,
    /// True if this handle of the store was never cloned, the default. A decision on the state in
    /// memory needs no confirmation if this and `is_sole_writer` are true, because then every append
    /// passes through the application that holds the handle. [`kit::handles`](crate::store::kit)
    /// keeps count.
    pub is_only_handle: bool,
    /// True if snapshots are kept. The default is false: aggregates are loaded from their events.
    pub keeps_snapshots: bool,
    /// True if projections can have their tables in this store. The default is false.
    pub has_projections: bool,
    /// The reason why the store cannot be reached at the moment, as far as it knows.
    pub trouble: Option<String>,
    /// Length in bytes of the write-ahead log beside the database file, if there is one. It grows
    /// without bound while another program keeps a read of the database open.
    pub wal_bytes: Option<u64>,
    /// The settings that durability depends on, as they were read back from the database, by name.
    pub settings: BTreeMap<&'static str, String>,
}

impl StoreInfo {
    /// Facts of a store without optional features and without trouble.
    pub fn new(identity: LogIdentity) -> Self {
        Self {
            identity,
            is_sole_writer: false,
            is_only_handle: true,
            keeps_snapshots: false,
            has_projections: false,
            trouble: None,
            wal_bytes: None,
            settings: BTreeMap::new(),
        }
    }
}
