//! The sessions of projections, and that one partition has one that writes.
//!
//! An owner that was stopped, or whose connection is silent, may have a transaction open on the
//! server, with locks on rows that its successor needs. So the session that writes holds an advisory
//! lock, and whoever holds the lease ends the session of whoever holds that lock.

use std::sync::Arc;

use sqlx::postgres::PgConnection;

use super::executor::STATEMENT_WITHIN;
use crate::error::StoreError;
use crate::lease::Lease;
use crate::store::sql::postgres::fault::Fault;
use crate::store::sql::postgres::open::Opening;

/// A session in the schema, whose statements are planned as the server sees fit.
pub(super) async fn open(opening: &Arc<Opening>, schema: &str) -> Result<PgConnection, StoreError> {
    let connected = opening.connect().await;
    let mut connection =
        connected.map_err(|error| Fault::from(error).unavailable(&opening.place))?;
    let configured = sqlx::query(
        "SELECT set_config('search_path', $1, false), set_config('statement_timeout', $2, false),
                set_config('enable_seqscan', 'on', false), set_config('plan_cache_mode', 'auto', false)",
    )
    .bind(schema)
    .bind(STATEMENT_WITHIN.as_millis().to_string())
    .execute(&mut connection)
    .await;
    configured.map_err(|error| Fault::from(error).unavailable(&opening.place))?;
    Ok(connection)
}

/// Makes this session the only one that writes for the partition of the lease.
pub(super) async fn take_over(
    connection: &mut PgConnection,
    lease: &Lease,
    place: &str,
) -> Result<(), StoreError> {
    let failed = |error| Fault::from(error).unavailable(place);
    let is_owner: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM actum.leases WHERE name = $1 AND token = $2)",
    )
    .bind(&lease.name)
    .bind(lease.token as i64)
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if !is_owner {
        return Err(StoreError::LeaseLost { name: lease.name.clone() });
    }
    sqlx::query(
        "WITH held AS (SELECT hashtextextended('actum ' || $1, 0) AS key)
         SELECT pg_terminate_backend(pid, 5000) FROM pg_locks, held
         WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND classid = ((key >> 32) & 4294967295)::oid AND objid = (key & 4294967295)::oid",
    )
    .bind(&lease.name)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let is_ours: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended('actum ' || $1, 0))")
            .bind(&lease.name)
            .fetch_one(connection)
            .await
            .map_err(failed)?;
    match is_ours {
        true => Ok(()),
        false => Err(StoreError::Unavailable(format!(
            "{place}: another session that writes {} does not end",
            lease.name
        ))),
    }
}
