//! The raw insert into PostgreSQL: the columns as arrays in one autocommit statement.

use sqlx::postgres::PgConnection;

use super::{EVENT_TYPE, METADATA, PAYLOAD, Row};
use crate::Outcome;
use crate::database::BenchDatabase;

const SCHEMA: &str = include_str!("../../../migrations/postgres/0001_log.sql");

pub(super) struct Insert {
    connection: PgConnection,
}

impl Insert {
    pub(super) async fn new(database: &BenchDatabase) -> Outcome<Self> {
        let mut connection = database.postgres().await?;
        sqlx::raw_sql("CREATE SCHEMA actum").execute(&mut connection).await?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        // As `actum.append` does, for the guard against any other writer.
        let allowed = "SELECT set_config('actum.appending', 'yes', false)";
        sqlx::query(allowed).execute(&mut connection).await?;
        Ok(Self { connection })
    }

    pub(super) async fn transaction(&mut self, rows: Vec<Row>) -> Outcome {
        let count = rows.len();
        sqlx::query(
            "INSERT INTO actum.events
             SELECT position, stream_type, stream_id, version, event_id, event_type,
                    schema_version, payload::json, metadata::json, clock_timestamp()
             FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS
                  e (position, stream_type, stream_id, version, event_id, event_type,
                     schema_version, payload, metadata)",
        )
        .bind(rows.iter().map(|row| row.position).collect::<Vec<_>>())
        .bind(vec!["account"; count])
        .bind(rows.iter().map(|row| row.stream_id.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.version).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.event_id).collect::<Vec<_>>())
        .bind(vec![EVENT_TYPE; count])
        .bind(vec![1_i32; count])
        .bind(vec![PAYLOAD; count])
        .bind(vec![METADATA; count])
        .execute(&mut self.connection)
        .await?;
        Ok(())
    }
}
