//! Leases and members: rows that expire by the server's clock.

use std::time::Duration;

use sqlx::Row;
use uuid::Uuid;

use super::PostgresStore;
use super::connections::Purpose;
use crate::error::StoreError;
use crate::lease::Lease;

impl PostgresStore {
    pub(super) async fn take_lease(
        &self,
        name: &str,
        owner: Uuid,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let asked = name.to_owned();
        let rows = self.connections.rows(Purpose::Signals, move || {
            sqlx::query(
                "INSERT INTO actum.leases AS held (name, owner, token, expires_at)
                 VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
                 ON CONFLICT (name) DO UPDATE SET
                 owner = excluded.owner, token = held.token + 1, expires_at = excluded.expires_at
                 WHERE held.expires_at <= clock_timestamp() OR held.owner = excluded.owner
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

    pub(super) async fn extend_lease(
        &self,
        lease: &Lease,
        duration: Duration,
    ) -> Result<bool, StoreError> {
        let Lease { name, token, .. } = lease.clone();
        let rows = self.connections.rows(Purpose::Signals, move || {
            sqlx::query(
                "UPDATE actum.leases
                 SET expires_at = clock_timestamp() + make_interval(secs => $3)
                 WHERE name = $1 AND token = $2 RETURNING token",
            )
            .bind(name.clone())
            .bind(token as i64)
            .bind(duration.as_secs_f64())
        });
        let rows = rows.await.map_err(|fault| fault.not_written(&self.place))?;
        Ok(!rows.is_empty())
    }

    pub(super) async fn end_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let Lease { name, token, .. } = lease.clone();
        let ended = self.connections.rows(Purpose::Signals, move || {
            // The next token, and nobody's: this one is void at once.
            sqlx::query(
                "UPDATE actum.leases SET token = token + 1, expires_at = clock_timestamp()
                 WHERE name = $1 AND token = $2",
            )
            .bind(name.clone())
            .bind(token as i64)
        });
        ended.await.map(drop).map_err(|fault| fault.not_written(&self.place))
    }

    pub(super) async fn find_holders(
        &self,
        names: &[String],
    ) -> Result<Vec<Option<Uuid>>, StoreError> {
        let asked = names.to_vec();
        let rows = self.connections.rows(Purpose::Signals, move || {
            sqlx::query(
                "SELECT held.owner FROM unnest($1::text[]) WITH ORDINALITY AS asked (name, n)
                 LEFT JOIN actum.leases AS held
                 ON held.name = asked.name AND held.expires_at > clock_timestamp()
                 ORDER BY asked.n",
            )
            .bind(asked.clone())
        });
        let rows = rows.await.map_err(|fault| fault.unavailable(&self.place))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    pub(super) async fn add_member(
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
                     SELECT process FROM actum.members
                     WHERE model = $1 AND process <> $2 AND expires_at <= clock_timestamp()
                     FOR UPDATE SKIP LOCKED
                 ), cleared AS (
                     DELETE FROM actum.members
                     WHERE model = $1 AND process IN (SELECT process FROM expired)
                 ), joined AS (
                     INSERT INTO actum.members (model, process, expires_at)
                     VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
                     ON CONFLICT (model, process) DO UPDATE SET expires_at = excluded.expires_at
                 )
                 SELECT process FROM actum.members
                 WHERE model = $1 AND process <> $2 AND expires_at > clock_timestamp()
                 UNION SELECT $2 ORDER BY process",
            )
            .bind(asked.clone())
            .bind(process)
            .bind(duration.as_secs_f64())
        });
        let rows = rows.await.map_err(|fault| fault.not_written(&self.place))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    pub(super) async fn remove_member(&self, model: &str, process: Uuid) -> Result<(), StoreError> {
        let asked = model.to_owned();
        let removed = self.connections.rows(Purpose::Signals, move || {
            sqlx::query("DELETE FROM actum.members WHERE model = $1 AND process = $2")
                .bind(asked.clone())
                .bind(process)
        });
        removed.await.map(drop).map_err(|fault| fault.not_written(&self.place))
    }
}
