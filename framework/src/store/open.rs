//! Opening a store by its URL, so that one program runs on each database.

use crate::error::StartError;
use crate::store::contract::AnyStore;
use crate::store::memory::MemoryStore;

#[cfg(any(not(feature = "postgres"), not(feature = "sqlite")))]
mod missing;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(not(feature = "postgres"))]
use self::missing::postgres;
#[cfg(not(feature = "sqlite"))]
use self::missing::sqlite;
#[cfg(feature = "postgres")]
use self::postgres::postgres;
#[cfg(feature = "sqlite")]
use self::sqlite::sqlite;

/// Opens the store that a URL names.
///
/// | URL | store |
/// |---|---|
/// | `sqlite:bank.db` | an SQLite file, which is created if it does not exist (feature `sqlite`) |
/// | `postgres://user:password@host:port/database`, `postgresql://…` | PostgreSQL, which any number of processes can share (feature `postgres`) |
/// | `memory:` | memory of this process, for tests and first steps; it has no SQL, so no projections |
///
/// `store::SqliteOptions` and `store::PostgresOptions` open the same stores with options, such as a PostgreSQL
/// schema for each application or each test.
///
/// ```no_run
/// # async fn f() -> Result<(), actum::StartError> {
/// let builder = actum::Application::builder(actum::open("sqlite:bank.db").await?);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`StartError::Open`] if the URL names no store, or one that this program was built without.
/// Otherwise those of `SqliteStore::open` and `PostgresStore::open`.
pub async fn open(url: &str) -> Result<AnyStore, StartError> {
    match url.split_once(':') {
        Some(("sqlite", _)) => sqlite(url).await,
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => postgres(url).await,
        Some(("memory", "")) => Ok(MemoryStore::new().into()),
        // The URL itself may hold a password, so only its scheme is shown.
        scheme => Err(StartError::Open {
            place: scheme.map_or("the store's URL", |(scheme, _)| scheme).to_owned(),
            reason: "no store has such a URL: write sqlite:FILE, \
                     postgres://USER:PASSWORD@HOST:PORT/DATABASE or memory:"
                .to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(url: &str) -> String {
        open(url).await.map(drop).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_url_that_names_no_store_is_refused_with_those_that_do() {
        for url in ["bank.db", "", "mysql://root:hidden@db/x", "postgres:x", "memory:x", "Memory:"]
        {
            let refused = refused(url).await;
            for possible in ["sqlite:FILE", "postgres://", "memory:"] {
                assert!(refused.contains(possible), "{url}: {refused}");
            }
            assert!(!refused.contains("hidden"), "{refused}");
        }
        assert!(open("memory:").await.is_ok());
    }
}
