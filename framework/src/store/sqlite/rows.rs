//! Writing many rows in few statements.
//!
//! A statement costs a hop to the connection's thread, so rows go in as multi-row VALUES, at most
//! two statements for 256 rows, and one for up to 64. So many statement texts exist, and all stay
//! prepared.

use std::sync::{Arc, LazyLock};

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Error};
use time::OffsetDateTime;

use crate::store::contract::DocumentBatch;
use crate::store::kit::version_check::{KeptCommand, Row};

/// 256 rows of ten columns are far below SQLite's limit of 32,766 parameters.
const MOST_ROWS: usize = 256;

/// Beyond so many rows, statements take a multiple of it.
const STRIDE: usize = 64;

pub(super) type Statement = Query<'static, Sqlite, SqliteArguments>;

/// One INSERT in the shapes of 1, 2 … 63 and 64, 128 … 256 rows.
pub(super) struct Insert {
    few: Vec<Arc<str>>,
    many: Vec<Arc<str>>,
}

impl Insert {
    fn new(into: &str, columns: usize, on_conflict: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        let shape = |rows: usize| {
            let rows = vec![row.as_str(); rows].join(",");
            format!("INSERT INTO {into} VALUES {rows} {on_conflict}").into()
        };
        let few = (1..STRIDE).map(shape).collect();
        let many = (STRIDE..=MOST_ROWS).step_by(STRIDE).map(shape).collect();
        Self { few, many }
    }

    /// The text for so many rows: fewer than [`STRIDE`], and not none.
    pub(super) fn text(&self, rows: usize) -> &str {
        &self.few[rows - 1]
    }

    /// The shape that takes the most of `rows`, and how many that is.
    fn shape(&self, rows: usize) -> (&Arc<str>, usize) {
        match rows / STRIDE {
            0 => (&self.few[rows - 1], rows),
            strides => {
                let strides = strides.min(self.many.len());
                (&self.many[strides - 1], strides * STRIDE)
            }
        }
    }

    /// Inserts all rows; `bind` binds the columns of one.
    async fn run<R>(
        &self,
        connection: &mut SqliteConnection,
        mut rows: &[R],
        mut bind: impl FnMut(Statement, &R) -> Statement,
    ) -> Result<(), Error> {
        while !rows.is_empty() {
            let (shape, count) = self.shape(rows.len());
            let (now, later) = rows.split_at(count);
            // Made of column names and placeholders only.
            let statement = sqlx::query(AssertSqlSafe(Arc::clone(shape)));
            now.iter().fold(statement, &mut bind).execute(&mut *connection).await?;
            rows = later;
        }
        Ok(())
    }
}

pub(super) static EVENTS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "events (position, stream_type, stream_id, version, event_id, event_type, schema_version, payload, metadata, recorded_at)",
        10,
        "",
    )
});
pub(super) static COMMANDS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new("commands (command_id, fingerprint, version, position, recorded_at)", 5, "")
});
static DOCUMENTS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "documents (model, key, body)",
        3,
        "ON CONFLICT (model, key) DO UPDATE SET body = excluded.body",
    )
});

/// As it is stored.
pub(super) fn micros(time: OffsetDateTime) -> i64 {
    (time.unix_timestamp_nanos() / 1000) as i64
}

/// Names that many rows of a batch have in common. Each is allocated once, because the driver's thread
/// frees what this one allocates, which costs several times more than on one thread.
#[derive(Default)]
pub(super) struct Names(Vec<Arc<str>>);

impl Names {
    /// A batch has few types of aggregates and events; more than these are not searched.
    const MOST: usize = 16;

    fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| ***known == *name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        if self.0.len() < Self::MOST {
            self.0.push(Arc::clone(&name));
        }
        name
    }
}

/// Binds the columns of an event.
pub(super) fn bind_event(
    statement: Statement,
    row: &Row<'_>,
    micros: i64,
    names: &mut Names,
) -> Statement {
    statement
        .bind(row.position.0 as i64)
        .bind(names.get(row.stream.aggregate_type()))
        .bind(Arc::<str>::from(row.stream.id()))
        .bind(row.version.0 as i64)
        .bind(row.event.event_id.as_bytes().to_vec())
        .bind(names.get(&row.event.event_type))
        .bind(i64::from(row.event.schema_version))
        .bind(Arc::clone(&row.event.payload))
        .bind(Arc::clone(&row.event.metadata))
        .bind(micros)
}

/// Binds the columns of a command.
pub(super) fn bind_command(statement: Statement, kept: &KeptCommand<'_>, micros: i64) -> Statement {
    statement
        .bind(Arc::<str>::from(&*kept.key.id))
        .bind(kept.key.fingerprint.to_vec())
        .bind(kept.tip.version.0 as i64)
        .bind(kept.tip.position.0 as i64)
        .bind(micros)
}

pub(super) async fn insert_events(
    connection: &mut SqliteConnection,
    rows: &[Row<'_>],
    recorded_at: OffsetDateTime,
) -> Result<(), Error> {
    let (micros, mut names) = (micros(recorded_at), Names::default());
    let bind = |statement: Statement, row: &Row<'_>| bind_event(statement, row, micros, &mut names);
    EVENTS.run(connection, rows, bind).await
}

pub(super) async fn insert_commands(
    connection: &mut SqliteConnection,
    commands: &[KeptCommand<'_>],
    recorded_at: OffsetDateTime,
) -> Result<(), Error> {
    let micros = micros(recorded_at);
    COMMANDS
        .run(connection, commands, |statement, kept| bind_command(statement, kept, micros))
        .await
}

pub(super) async fn upsert_documents(
    connection: &mut SqliteConnection,
    batch: &DocumentBatch,
) -> Result<(), Error> {
    let model: Arc<str> = batch.update.partition.model.as_str().into();
    let bind = |statement: Statement, (key, body): &(String, String)| {
        statement.bind(Arc::clone(&model)).bind(key.clone()).bind(body.clone())
    };
    DOCUMENTS.run(&mut *connection, &batch.documents, bind).await?;
    if batch.deleted.is_empty() {
        return Ok(());
    }
    let deleted = serde_json::to_string(&batch.deleted).map_err(|e| Error::Encode(Box::new(e)))?;
    let delete = sqlx::query(
        "DELETE FROM documents WHERE model = ? AND key IN (SELECT value FROM json_each(?))",
    );
    delete.bind(model).bind(deleted).execute(connection).await.map(drop)
}
