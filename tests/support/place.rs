//! The place of a test's log, one for each store, and the macros that run tests on several stores.

use std::time::Duration;

use actum::store::{MemoryStore, PostgresStore, SqliteStore};
use actum::{AnyStore, Application, ApplicationBuilder};

use crate::support::directory::Directory;
use crate::support::postgres::{Database, database};
use crate::support::waiting::{at_most, poll};

/// The place of a log. Stores on it can be opened again and again; all is gone when it is dropped.
pub enum Place {
    Memory(MemoryStore),
    Sqlite(Directory),
    Postgres(Box<Database>),
}

impl Place {
    pub fn memory() -> Self {
        Self::Memory(MemoryStore::new())
    }

    pub fn sqlite() -> Self {
        Self::Sqlite(Directory::new())
    }

    pub async fn postgres() -> Self {
        Self::Postgres(Box::new(database().await))
    }

    /// The name of the store.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// The URL that a child process opens the store by.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(_) => format!("sqlite:{}", self.log()),
            Self::Postgres(_) => self.log(),
            Self::Memory(_) => unreachable!("a child process has no memory of ours"),
        }
    }

    /// The file or the URL that the database itself is read by.
    pub fn log(&self) -> String {
        match self {
            Self::Sqlite(directory) => directory.file("log.db"),
            Self::Postgres(database) => database.url(),
            Self::Memory(_) => unreachable!("there is no database"),
        }
    }

    /// The store, newly opened.
    pub async fn open(&self) -> AnyStore {
        match self {
            Self::Memory(store) => store.clone().into(),
            Self::Sqlite(directory) => open_sqlite(directory).await.into(),
            Self::Postgres(database) => open_postgres(database).await.into(),
        }
    }

    /// An application on a newly opened store.
    pub async fn builder(&self) -> ApplicationBuilder {
        Application::builder(self.open().await)
    }
}

/// Opens the log in this folder. An application that was dropped without a shutdown holds the file
/// until its threads have ended, so a refusal is tried again for a while.
pub async fn open_sqlite(directory: &Directory) -> SqliteStore {
    let path = directory.file("log.db");
    poll(Duration::from_secs(20), async || {
        SqliteStore::open(&path).await.map_err(|error| error.to_string())
    })
    .await
}

pub async fn open_postgres(database: &Database) -> PostgresStore {
    PostgresStore::open(&database.url()).await.unwrap()
}

/// Runs the body of a test, which fails if it takes so long that it would never end.
#[track_caller]
pub fn run(body: impl Future<Output = ()>) -> impl Future<Output = ()> {
    at_most(Duration::from_secs(120), body)
}

/// Makes tests of functions that take a `Store`: the modules `memory`, `sqlite` and `postgres`, each
/// with a test of its own for each function.
macro_rules! on_every_store {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    crate::support::place::run(super::$name(actum::store::MemoryStore::new())).await;
                }
            )+
        }

        crate::support::place::on_both_databases!($($name),+);
    };
}

/// As `on_every_store`, without the memory store.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            use crate::support::directory::Directory;
            use crate::support::place::{open_sqlite, run};

            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    let directory = Directory::new();
                    run(super::$name(open_sqlite(&directory).await)).await;
                }
            )+
        }

        mod postgres {
            use crate::support::place::{open_postgres, run};
            use crate::support::postgres::database;

            $(
                #[tokio::test(flavor = "multi_thread")]
                #[ignore = "needs PostgreSQL: run scripts/test"]
                async fn $name() {
                    let database = database().await;
                    run(super::$name(open_postgres(&database).await)).await;
                }
            )+
        }
    };
}

/// As `on_every_store`, for functions that take a [`Place`] and open it more than once.
macro_rules! on_every_place {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            use crate::support::place::{Place, run};

            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    run(super::$name(Place::memory())).await;
                }
            )+
        }

        crate::support::place::on_both_places!($($name),+);
    };
}

/// As `on_every_place`, without the memory store.
macro_rules! on_both_places {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            use crate::support::place::{Place, run};

            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    run(super::$name(Place::sqlite())).await;
                }
            )+
        }

        mod postgres {
            use crate::support::place::{Place, run};

            $(
                #[tokio::test(flavor = "multi_thread")]
                #[ignore = "needs PostgreSQL: run scripts/test"]
                async fn $name() {
                    run(super::$name(Place::postgres().await)).await;
                }
            )+
        }
    };
}

pub(crate) use {on_both_databases, on_both_places, on_every_place, on_every_store};
