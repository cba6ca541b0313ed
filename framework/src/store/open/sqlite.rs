//! Opening an SQLite file by its URL.

use crate::error::StartError;
use crate::store::contract::AnyStore;
use crate::store::sqlite::SqliteStore;

pub(super) async fn sqlite(url: &str) -> Result<AnyStore, StartError> {
    SqliteStore::open(url).await.map(AnyStore::from)
}
