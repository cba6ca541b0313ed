//! Leases and members: rows that expire by the server's clock.
//!
//! Each row keeps the duration it was granted for. A row that has longer to live than that was
//! written before the server's clock was set back, or by hand: `is_running` in the migration takes
//! it for expired, so that no set-back of the clock keeps a dead process's leases alive.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row;
use uuid::Uuid;

use super::PostgresStore;
use super::connections::Purpose;
use crate::error::StoreError;
use crate::store::contract::{Lease, LeaseStore};

#[async_trait]
impl LeaseStore for PostgresStore {
    async fn acquire_lease(
        &self,
        name: &str,
        owner: Uuid,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let asked = name.to_owned();
        let rows = self.connections.rows(Purpose::Signals, move || {
            sqlx::query(
                "INSERT INTO leases AS held (name, owner, token, lasts, expires_at)
                 VALUES ($1, $2, 1, make_interval(secs => $3),
                         clock_timestamp() + make_interval(secs => $3))
                 ON CONFLICT (name) DO UPDATE SET
                 owner = excluded.owner, token = held.token + 1, lasts = excluded.lasts,
                 expires_at = excluded.expires_at
                 WHERE held.owner = excluded.owner OR NOT is_running(held.expires_at, held.lasts)
                 RETURNING token",
            )
            .bind(asked.clone())
            .bind(owner)
            .bind(duration.as_secs_f64())
        });
        let rows = rows.await.map_err(|fault| fault.not_written(&self.place))?;
        let token = rows.first().map(|row| row.get::<i64, _>(0) as u64);
        Ok(token.map(|token| Lease { name: name.to_owned(), owner, token }))
    }

    async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Result<bool, StoreError> {
        let Lease { name, token, .. } = lease.clone();
        let rows = self.connections.rows(Purpose::Signals, move || {
            sqlx::query(
                "UPDATE leases
                 SET lasts = make_interval(secs => $3),
                     expires_at = clock_timestamp() + make_interval(secs => $3)
                 WHERE name = $1 AND token = $2 RETURNING token",
            )
            .bind(name.clone())
            .bind(token as i64)
            .bind(duration.as_secs_f64())
        });
        let rows = rows.await.map_err(|fault| fault.not_written(&self.place))?;
        Ok(!rows.is_empty())
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let Lease { name, token, .. } = lease.clone();
        let ended = self.connections.rows(Purpose::Signals, move || {
            // The next token, and nobody's: this one is void at once.
            sqlx::query(
                "UPDATE leases SET token = token + 1, expires_at = clock_timestamp()
                 WHERE name = $1 AND token = $2",
            )
            .bind(name.clone())
            .bind(token as i64)
        });
        ended.await.map(drop).map_err(|fault| fault.not_written(&self.place))
    }

    async fn holders(&self, names: &[String]) -> Result<Vec<Option<Uuid>>, StoreError> {
        let asked = names.to_vec();
        let rows = self.connections.rows(Purpose::Signals, move || {
            sqlx::query(
                "SELECT held.owner FROM unnest($1::text[]) WITH ORDINALITY AS asked (name, n)
                 LEFT JOIN leases AS held
                 ON held.name = asked.name AND is_running(held.expires_at, held.lasts)
                 ORDER BY asked.n",
            )
            .bind(asked.clone())
        });
        let rows = rows.await.map_err(|fault| fault.unavailable(&self.place))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn join(
        &self,
        model: &str,
        process: Uuid,
        duration: Duration,
    ) -> Result<Vec<Uuid>, StoreError> {
        let asked = model.to_owned();
        let rows = self.connections.rows(Purpose::Signals, move || {
            // Several may clear away the same rows: none waits for another.
            sqlx::query(
                "WITH expired AS (
                     SELECT process FROM members
                     WHERE model = $1 AND process <> $2 AND NOT is_running(expires_at, lasts)
                     FOR UPDATE SKIP LOCKED
                 ), cleared AS (
                     DELETE FROM members
                     WHERE model = $1 AND process IN (SELECT process FROM expired)
                 ), joined AS (
                     INSERT INTO members (model, process, lasts, expires_at)
                     VALUES ($1, $2, make_interval(secs => $3),
                             clock_timestamp() + make_interval(secs => $3))
                     ON CONFLICT (model, process) DO UPDATE SET lasts = excluded.lasts,
                     expires_at = excluded.expires_at
                 )
                 SELECT process FROM members
                 WHERE model = $1 AND process <> $2 AND is_running(expires_at, lasts)
                 UNION SELECT $2 ORDER BY process",
            )
            .bind(asked.clone())
            .bind(process)
            .bind(duration.as_secs_f64())
        });
        let rows = rows.await.map_err(|fault| fault.not_written(&self.place))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn leave(&self, model: &str, process: Uuid) -> Result<(), StoreError> {
        let asked = model.to_owned();
        let removed = self.connections.rows(Purpose::Signals, move || {
            sqlx::query("DELETE FROM members WHERE model = $1 AND process = $2")
                .bind(asked.clone())
                .bind(process)
        });
        removed.await.map(drop).map_err(|fault| fault.not_written(&self.place))
    }
}
