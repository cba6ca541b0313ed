//! The log in PostgreSQL: many processes, one order, full durability.
//!
//! Each trait of the contract is implemented in the file of its topic: `events`, `snapshots`,
//! `checkpoints`, `documents`, `leases`, `versions` and `projection`. `open` and `schema` open the log
//! and refuse what is not this program's, `history` compares events by position and id, `writer` has
//! the one connection that writes, and `rows` and `claims` its parameters. `connections` holds the other
//! connections, `signals` the notifications, `fault` the meaning of errors.
//! The migrations hold the functions that write.

mod checkpoints;
mod claims;
mod connections;
mod documents;
mod epoch;
mod events;
mod fault;
mod groups;
mod history;
mod lane;
mod leases;
mod open;
mod options;
mod projection;
mod rows;
mod schema;
mod signals;
mod snapshots;
mod timestamp;
mod versions;
mod writer;

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch;

use self::connections::Connections;
use self::open::Opening;
pub use self::options::PostgresOptions;
use super::contract::LogIdentity;
use super::kit::group_commit::Committer;
use crate::error::StartError;
use crate::event::GlobalPosition;

/// A log in a PostgreSQL database.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let store = actum::store::PostgresStore::open("postgres://localhost/bank").await?;
/// let app = actum::Application::builder(store).start().await?;
/// # Ok(()) }
/// ```
///
/// It is in the schema `actum` or the one that [`PostgresOptions::schema`] names. Any number of
/// processes may have it open. Clones are the same store; when the last is dropped, what is queued
/// is still written.
#[derive(Clone)]
pub struct PostgresStore {
    /// Documents and snapshots do not ride along: they would be written under the writer lock,
    /// for which other processes wait.
    committer: Committer<Infallible>,
    connections: Arc<Connections>,
    identity: LogIdentity,
    head: watch::Receiver<GlobalPosition>,
    trouble: watch::Receiver<Option<String>>,
    place: Arc<str>,
    opening: Arc<Opening>,
}

impl PostgresStore {
    /// Opens the log at `postgres://user:password@host:port/database`, making its tables if they
    /// do not exist.
    ///
    /// # Errors
    /// [`StartError`] with the address: the database cannot be reached or is not the primary, its
    /// schema `actum` is another program's or a newer release's, a pooler stands in between, or a
    /// setting would break a promise. Nothing is changed then.
    pub async fn open(url: &str) -> Result<Self, StartError> {
        PostgresOptions::new(url).open().await
    }
}
