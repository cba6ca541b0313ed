//! The databases that are measured: each round begins with a fresh one.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actum::store::{PostgresStore, SqliteStore};
use actum::{Application, ApplicationBuilder};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::Outcome;
use crate::options::Options;

/// The store that Actum runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Sqlite,
    Postgres,
}

pub const STORES: [(&str, Store); 2] = [("sqlite", Store::Sqlite), ("postgres", Store::Postgres)];

/// Variable with the URL of the server that `scripts/bench` has started.
const SERVER: &str = "ACTUM_TEST_POSTGRES";

/// A database by its file's path or its URL.
#[derive(Clone)]
pub struct BenchDatabase {
    pub store: Store,
    pub url: String,
}

impl Store {
    /// An empty database; on a server the one before is gone.
    pub async fn fresh(self, options: &Options) -> Outcome<BenchDatabase> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let url = match self {
            Self::Sqlite => {
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                options.folder.join(format!("{count}.db")).display().to_string()
            }
            Self::Postgres => {
                on_server(["DROP DATABASE IF EXISTS bench WITH (FORCE)", "CREATE DATABASE bench"])
                    .await?;
                on_the_same_server("bench")?
            }
        };
        Ok(BenchDatabase { store: self, url })
    }

    /// Name on the command line.
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

impl BenchDatabase {
    /// Opens a path or a URL, in the form that `bank --store` takes.
    pub fn at(url: &str) -> Self {
        let store = match url.starts_with("postgres://") {
            true => Store::Postgres,
            false => Store::Sqlite,
        };
        Self { store, url: url.to_owned() }
    }

    /// An empty database beside it, without tables. There is one at a time.
    pub async fn scratch(&self) -> Outcome<Self> {
        let url = match self.store {
            Store::Sqlite => format!("{}.scratch", self.url),
            Store::Postgres => {
                let sql = [
                    "DROP DATABASE IF EXISTS bench_scratch WITH (FORCE)",
                    "CREATE DATABASE bench_scratch",
                ];
                on_server(sql).await?;
                on_the_same_server("bench_scratch")?
            }
        };
        Ok(Self { store: self.store, url })
    }

    /// A copy of the database, made while it is not open. There is one at a time.
    pub async fn copy(&self) -> Outcome<Self> {
        let url = match self.store {
            Store::Sqlite => {
                let folder = format!("{}.copy", self.url);
                if Path::new(&folder).exists() {
                    std::fs::remove_dir_all(&folder)?;
                }
                std::fs::create_dir(&folder)?;
                let url = format!("{folder}/copy.db");
                std::fs::copy(&self.url, &url)?;
                // Otherwise the round would measure how the database gets to the disk.
                std::fs::File::open(&url)?.sync_all()?;
                url
            }
            Store::Postgres => {
                let sql = [
                    "DROP DATABASE IF EXISTS bench_copy WITH (FORCE)",
                    "CREATE DATABASE bench_copy TEMPLATE bench STRATEGY file_copy",
                    "CHECKPOINT",
                ];
                on_server(sql).await?;
                on_the_same_server("bench_copy")?
            }
        };
        Ok(Self { store: self.store, url })
    }

    /// Brings the database into the state it has some time after its rows were written. It must not
    /// be open.
    pub async fn settle(&self) -> Outcome {
        match self.store {
            Store::Sqlite => {
                let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
                sqlx::query(checkpoint).execute(&mut self.sqlite().await?).await?;
            }
            Store::Postgres => {
                let mut connection = self.postgres().await?;
                for sql in ["VACUUM ANALYZE", "CHECKPOINT"] {
                    sqlx::query(sql).execute(&mut connection).await?;
                }
                connection.close().await?;
            }
        }
        Ok(())
    }

    /// An application on it, with the default settings. It has the name of the bank, which some
    /// sections start on the same database.
    pub async fn application(&self) -> Outcome<ApplicationBuilder> {
        let builder = match self.store {
            Store::Sqlite => Application::builder(SqliteStore::open(&self.url).await?),
            Store::Postgres => Application::builder(PostgresStore::open(&self.url).await?),
        };
        Ok(builder.name("bank"))
    }

    /// Deletes the files. On a server the next database takes the place of this one.
    pub fn remove(&self) -> Outcome {
        if self.store == Store::Sqlite {
            for entry in Path::new(&self.url).parent().ok_or("a file has a folder")?.read_dir()? {
                let path = entry?.path();
                if path.to_string_lossy().starts_with(&self.url) {
                    match path.is_dir() {
                        true => std::fs::remove_dir_all(path)?,
                        false => std::fs::remove_file(path)?,
                    }
                }
            }
        }
        Ok(())
    }

    pub async fn sqlite(&self) -> Outcome<SqliteConnection> {
        Ok(SqliteConnectOptions::new().filename(&self.url).connect().await?)
    }

    pub async fn postgres(&self) -> Outcome<PgConnection> {
        let options: PgConnectOptions = self.url.parse()?;
        Ok(options.options([("search_path", "actum")]).connect().await?)
    }

    /// Average number of events in a commit: the events of one transaction share their time.
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
                let mut connection = self.sqlite().await?;
                sqlx::query(delete).execute(&mut connection).await?;
                // Closed, because the store refuses a write-ahead log that only others have written.
                connection.close().await?;
            }
            Store::Postgres => {
                sqlx::query(delete).execute(&mut self.postgres().await?).await?;
            }
        }
        Ok(())
    }
}

/// Makes each commit on the server take longer by this, as on a slower disk. `None` ends that.
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

async fn on_server<const N: usize>(statements: [&'static str; N]) -> Outcome {
    let mut server = server().await?;
    for sql in statements {
        sqlx::query(sql).execute(&mut server).await?;
    }
    Ok(server.close().await?)
}

fn on_the_same_server(database: &str) -> Outcome<String> {
    let url = std::env::var(SERVER)?;
    let (server, _) = url.rsplit_once('/').ok_or("a URL ends with a database")?;
    Ok(format!("{server}/{database}"))
}

async fn server() -> Outcome<PgConnection> {
    let url =
        std::env::var(SERVER).map_err(|_| format!("{SERVER} is not set; use scripts/bench"))?;
    Ok(PgConnection::connect(&url).await?)
}
