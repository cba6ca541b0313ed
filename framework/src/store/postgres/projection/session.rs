//! The sessions of projections, and that one partition has one that writes.
//!
//! An owner that was stopped, or whose connection is silent, may have a transaction open on the
//! server, with locks on rows that its successor needs. So a session that writes holds an advisory
//! lock, and a new owner ends the sessions that hold it, if its role may. If not, the server ends
//! them soon by itself, because a session that writes may not be idle in a transaction for long.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use tracing::warn;

use super::executor::STATEMENT_WITHIN;
use crate::error::StoreError;
use crate::store::contract::Lease;
use crate::store::postgres::fault::{Fault, code};
use crate::store::postgres::open::Opening;

/// Time that a session that writes may be idle in a transaction, or leave a reply unread. The code
/// of a projection takes less between two statements.
const IDLE_WITHIN: Duration = Duration::from_secs(10);

const INSUFFICIENT_PRIVILEGE: &str = "42501";

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

/// Makes this session the one that writes for the partition of the lease.
///
/// Only the lease decides what is stored: a former owner's transaction cannot pass `advance`. What
/// is left to do is to be rid of the locks that its session may hold. This role may not be allowed
/// to end that session; then the server does, because a session that writes may not idle in a
/// transaction.
pub(super) async fn take_over(
    connection: &mut PgConnection,
    lease: &Lease,
    opening: &Opening,
) -> Result<(), StoreError> {
    let (place, log) = (&*opening.place, &opening.schema);
    let failed = |error| Fault::from(error).unavailable(place);
    // The schema's name holds only letters, digits and _.
    let owned = AssertSqlSafe(format!(
        "SELECT EXISTS (SELECT FROM {log}.leases WHERE name = $1 AND token = $2),
                set_config('idle_in_transaction_session_timeout', $3, false),
                set_config('tcp_user_timeout', $3, false)"
    ));
    let row = sqlx::query(owned)
        .bind(&lease.name)
        .bind(lease.token as i64)
        .bind(IDLE_WITHIN.as_millis().to_string())
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if !row.get::<bool, _>(0) {
        return Err(StoreError::LeaseLost { name: lease.name.clone() });
    }
    let name = format!("{log} {}", lease.name);
    match end_others(connection, &name).await {
        Ok(()) => {}
        Err(error) if code(&error) == Some(INSUFFICIENT_PRIVILEGE) => warn!(
            lease = %lease.name,
            "this role may not end the session of the former owner; the server ends it within {IDLE_WITHIN:?}. To take over at once: GRANT pg_signal_backend TO the role"
        ),
        Err(error) => return Err(failed(error)),
    }
    // Shared, and held to the end of the session: it names this session to the next owner.
    sqlx::query("SELECT pg_advisory_lock_shared(hashtextextended($1, 0))")
        .bind(&name)
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
}

/// Ends the sessions of former owners, as far as they are still there.
async fn end_others(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH held AS (SELECT hashtextextended($1, 0) AS key)
         SELECT pg_terminate_backend(pid, 5000) FROM pg_locks, held
         WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND classid = ((key >> 32) & 4294967295)::oid AND objid = (key & 4294967295)::oid",
    )
    .bind(name)
    .execute(connection)
    .await
    .map(drop)
}
