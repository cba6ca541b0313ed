//! Opening PostgreSQL by its URL.

use crate::error::StartError;
use crate::store::contract::AnyStore;
use crate::store::postgres::PostgresStore;

pub(super) async fn postgres(url: &str) -> Result<AnyStore, StartError> {
    PostgresStore::open(url).await.map(AnyStore::from)
}
