//! The databases that are measured: each round begins with a fresh one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actum::{Application, ApplicationBuilder, PostgresStore, SqliteStore};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::Outcome;
use crate::options::Options;

/// What Actum runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Sqlite,
    Postgres,
}

pub const STORES: [(&str, Store); 2] = [("sqlite", Store::Sqlite), ("postgres", Store::Postgres)];

/// Where `scripts/bench` says the server is that it has started.
const SERVER: &str = "ACTUM_TEST_POSTGRES";

/// A database by its file's path or its URL.
#[derive(Clone)]
pub struct Database {
    pub store: Store,
    pub url: String,
}

impl Store {
    /// An empty database; on a server the one before is gone.
    pub async fn fresh(self, options: &Options) -> Outcome<Database> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let url = match self {
            Self::Sqlite => {
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                options.folder.join(format!("{count}.db")).display().to_string()
            }
            Self::Postgres => {
                let mut server = server().await?;
                for sql in ["DROP DATABASE IF EXISTS bench WITH (FORCE)", "CREATE DATABASE bench"] {
                    sqlx::query(sql).execute(&mut server).await?;
                }
                server.close().await?;
                let url = std::env::var(SERVER)?;
                let (server, _) = url.rsplit_once('/').ok_or("a URL ends with a database")?;
                format!("{server}/bench")
            }
        };
        Ok(Database { store: self, url })
    }

    /// As the command line calls it.
    pub fn word(self) -> &'static str {
        STORES[self as usize].0
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

impl Database {
    /// From a path or a URL, as `bank --store` takes it.
    pub fn at(url: &str) -> Self {
        let store = match url.starts_with("postgres://") {
            true => Store::Postgres,
            false => Store::Sqlite,
        };
        Self { store, url: url.to_owned() }
    }

    /// An application on it, with the default settings.
    pub async fn application(&self) -> Outcome<ApplicationBuilder> {
        Ok(match self.store {
            Store::Sqlite => Application::builder(SqliteStore::open(&self.url).await?),
            Store::Postgres => Application::builder(PostgresStore::open(&self.url).await?),
        })
    }

    pub async fn sqlite(&self) -> Outcome<SqliteConnection> {
        Ok(SqliteConnectOptions::new().filename(&self.url).connect().await?)
    }

    pub async fn postgres(&self) -> Outcome<PgConnection> {
        let options: PgConnectOptions = self.url.parse()?;
        Ok(options.options([("search_path", "actum")]).connect().await?)
    }

    /// Events in a commit, on average: those of one transaction share their time.
    pub async fn mean_batch(&self) -> Outcome<f64> {
        let mean = "SELECT CAST(count(*) AS double precision) / count(DISTINCT recorded_at)
                    FROM events WHERE version > 1";
        Ok(match self.store {
            Store::Sqlite => sqlx::query_scalar(mean).fetch_one(&mut self.sqlite().await?).await?,
            Store::Postgres => {
                sqlx::query_scalar(mean).fetch_one(&mut self.postgres().await?).await?
            }
        })
    }

    pub async fn delete_snapshots(&self) -> Outcome {
        let delete = "DELETE FROM snapshots";
        match self.store {
            Store::Sqlite => {
                sqlx::query(delete).execute(&mut self.sqlite().await?).await?;
            }
            Store::Postgres => {
                sqlx::query(delete).execute(&mut self.postgres().await?).await?;
            }
        }
        Ok(())
    }
}

/// Makes each commit on the server take so much longer, as on a slower disk; `None` ends that.
pub async fn delay_commits(longer: Option<Duration>) -> Outcome {
    let mut server = server().await?;
    let set = |name: &str, value: u128| match longer {
        Some(_) => format!("ALTER SYSTEM SET {name} = {value}"),
        None => format!("ALTER SYSTEM RESET {name}"),
    };
    let delay = set("commit_delay", longer.unwrap_or_default().as_micros());
    for sql in [delay, set("commit_siblings", 0), "SELECT pg_reload_conf()".into()] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut server).await?;
    }
    Ok(server.close().await?)
}

async fn server() -> Outcome<PgConnection> {
    let url =
        std::env::var(SERVER).map_err(|_| format!("{SERVER} is not set; use scripts/bench"))?;
    Ok(PgConnection::connect(&url).await?)
}
