//! The embedded log: one SQLite file, one writing process, full durability.
//!
//! Each trait of the contract is implemented in the file of its topic: `events`, `snapshots`,
//! `checkpoints`, `documents`, `leases`, `versions` and `projection`. Opening and its refusals are in
//! `path`, `lock`, `wal`, `open` and `schema`, the one writing connection in `writer`, the end in
//! `close`, copies in `backup` and `restore`, the meaning of an error of the database in `fault`.

mod backup;
mod checkpoints;
mod claims;
mod close;
mod commands;
mod documents;
mod doubt;
mod events;
mod fault;
mod inode;
mod leases;
mod lock;
mod open;
mod options;
mod origin;
mod page;
mod parked_keys;
mod path;
mod program;
mod projection;
mod reader;
mod restore;
mod rows;
mod schema;
mod side_write;
mod small_batch;
mod snapshots;
mod tips;
mod trouble;
mod versions;
mod wal;
mod wal_size;
mod writer;

use std::sync::Arc;

use sqlx::SqlitePool;
use tokio::sync::watch;

pub use self::backup::Backup;
use self::open::Opening;
pub use self::options::SqliteOptions;
use self::projection::Projections;
use self::side_write::SideWrite;
use super::contract::LogIdentity;
use super::kit::group_commit::Committer;
use super::kit::handles::Handle;
use super::kit::leases::Leases;
use crate::error::StartError;
use crate::event::GlobalPosition;

/// A log in an SQLite file.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let store = actum::store::SqliteStore::open("bank.db").await?;
/// let app = actum::Application::builder(store).start().await?;
/// # Ok(()) }
/// ```
///
/// Clones are the same store. An application that has the last one closes it when it shuts down;
/// else call [`SqliteStore::close`]: a dropped store closes in the background, perhaps too late.
#[derive(Clone)]
pub struct SqliteStore {
    committer: Committer<SideWrite>,
    head: watch::Receiver<GlobalPosition>,
    readers: SqlitePool,
    leases: Leases,
    identity: LogIdentity,
    place: Arc<str>,
    opening: Arc<Opening>,
    projections: Projections,
    /// Counts the clones.
    handles: Arc<()>,
    handle: Handle,
}

impl SqliteStore {
    /// Opens the log at `bank.db` or `sqlite:bank.db`, making the file if it does not exist.
    ///
    /// # Errors
    /// [`StartError`] with the path: the file is no database, read-only, open in another process
    /// or written by a newer release, or a setting would break a promise. Nothing is changed then.
    ///
    /// A new file, and the files beside it, can be read by this user alone (mode 0600). While the
    /// store is open, only SQLite may open the file in this process: a descriptor of your own, once
    /// closed, takes the database's locks with it.
    ///
    /// A program that keeps tables of its own in the file opens the store before its own
    /// connections, because a write-ahead log without any transaction of the store is refused. It
    /// closes its connections before the store, because the store's end takes their locks with it.
    pub async fn open(place: &str) -> Result<Self, StartError> {
        SqliteOptions::new(place).open().await
    }
}
