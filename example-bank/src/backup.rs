//! The commands `backup` and `restore`.

use std::io::Write;
use std::path::Path;

use actum::BoxError;
use actum::store::{Backup, PostgresOptions, PostgresStore, SqliteStore};

/// Writes a backup of an SQLite log.
pub(crate) async fn backup(store: &str, file: &Path) -> Result<(), BoxError> {
    if !store.starts_with("sqlite:") {
        return Err("a log in PostgreSQL is backed up with its own tools: pg_dump -Fc".into());
    }
    let Backup { identity, head } = SqliteStore::backup_of(store, file).await?;
    let (log, epoch, file) = (identity.log_id, identity.epoch, file.display());
    print(&format!("{file} holds the log {log}, epoch {epoch}, up to position {head}"))
}

/// Restores a backup and raises the epoch. On PostgreSQL, raises the epoch of a restored database.
pub(crate) async fn restore(file: Option<&Path>, store: &str) -> Result<(), BoxError> {
    if !store.starts_with("sqlite:") {
        if file.is_some() {
            let what = "restore a PostgreSQL log with pg_restore, then run this without a file";
            return Err(what.into());
        }
        let epoch = PostgresStore::raise_epoch(PostgresOptions::new(store)).await?;
        return print(&format!("the log is at epoch {epoch} now"));
    }
    let Some(file) = file else { return Err("name the backup to restore".into()) };
    let Backup { identity, head } = SqliteStore::restore(file, store).await?;
    let (log, epoch) = (identity.log_id, identity.epoch);
    print(&format!("restored the log {log} up to position {head}; it is at epoch {epoch} now"))
}

fn print(line: &str) -> Result<(), BoxError> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
