//! Leases and members: rows that expire by the server's clock.
//!
//! Each row keeps the duration it was granted for. A row that has longer to live than that was
//! written before the server's clock was set back, or by hand: `is_running` in the migration takes
//! it for expired, so that no set-back of the clock keeps a dead process's leases alive.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row;
use uuid::Uuid;

use super::PostgresStore;
use super::connections::Purpose;
use crate::error::StoreError;
use crate::store::contract::{Lease, LeaseStore, Renewal, Renewed};

/// Leases and members are renewed and read in one statement. All parts see the rows as they were
/// before it, so the process adds itself to the members that it reads.
const RENEW_ALL: &str = "
    WITH mine AS (
        SELECT held.name FROM leases AS held
        JOIN unnest($1::text[], $2::bigint[]) AS asked (name, token)
        ON held.name = asked.name AND held.token = asked.token
        FOR NO KEY UPDATE OF held SKIP LOCKED
    ), renewed AS (
        UPDATE leases AS held
        SET lasts = make_interval(secs => $4),
            expires_at = clock_timestamp() + make_interval(secs => $4)
        FROM mine WHERE held.name = mine.name RETURNING held.name
    ), expired AS (
        SELECT model, process FROM members
        WHERE model = ANY($5::text[]) AND process <> $3 AND NOT is_running(expires_at, lasts)
        FOR UPDATE SKIP LOCKED
    ), cleared AS (
        DELETE FROM members USING expired
        WHERE members.model = expired.model AND members.process = expired.process
    ), joined AS (
        INSERT INTO members (model, process, lasts, expires_at)
        SELECT DISTINCT model, $3::uuid, make_interval(secs => $4),
               clock_timestamp() + make_interval(secs => $4)
        FROM unnest($5::text[]) AS asked (model)
        ON CONFLICT (model, process) DO UPDATE SET lasts = excluded.lasts,
        expires_at = excluded.expires_at
    )
    SELECT 'lease', name, $3::uuid, NULL FROM renewed
    UNION ALL
    SELECT 'member', model, process, NULL FROM members
    WHERE model = ANY($5::text[]) AND process <> $3 AND is_running(expires_at, lasts)
    UNION ALL
    SELECT 'holder', name, owner, NULL FROM leases
    WHERE name = ANY($6::text[]) AND is_running(expires_at, lasts)
    UNION ALL
    SELECT 'pause', name || '@' || version, NULL, pause FROM versions
    WHERE pause <> '' AND name || '@' || version = ANY($5::text[])";

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
                // The token grows with each grant, also to the same owner, so that every write of
                // an earlier term is refused.
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
                // By token and not by expiry: a lease that has expired is still held if nobody else
                // has acquired it.
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

    /// One statement, so that an idle process costs one commit a second. A lease whose row is locked
    /// is skipped and not waited for: a commit that hangs must not let the other leases expire.
    async fn renew_all(&self, renewal: &Renewal) -> Result<Renewed, StoreError> {
        let asked = renewal.clone();
        let rows = self.connections.rows(Purpose::Signals, move || {
            let Renewal { process, duration, leases, models, partitions } = &asked;
            let names: Vec<_> = leases.iter().map(|lease| lease.name.clone()).collect();
            let tokens: Vec<_> = leases.iter().map(|lease| lease.token as i64).collect();
            sqlx::query(RENEW_ALL)
                .bind(names)
                .bind(tokens)
                .bind(*process)
                .bind(duration.as_secs_f64())
                .bind(models.clone())
                .bind(partitions.clone())
        });
        let rows = rows.await.map_err(|fault| fault.not_written(&self.place))?;
        let mut found: BTreeMap<(String, String), Vec<Uuid>> = BTreeMap::new();
        let mut pauses: BTreeMap<String, String> = BTreeMap::new();
        for row in &rows {
            let (kind, name): (String, String) = (row.get(0), row.get(1));
            if let Some(pause) = row.get(3) {
                pauses.insert(name, pause);
            } else {
                found.entry((kind, name)).or_default().push(row.get(2));
            }
        }
        let mut of = |kind: &str, name: &str| found.remove(&(kind.to_owned(), name.to_owned()));
        let leases = renewal.leases.iter().map(|lease| of("lease", &lease.name).is_some());
        let leases: Vec<_> = leases.collect();
        let held = renewal.leases.iter().zip(&leases).filter(|(_, is_held)| **is_held);
        let held: HashSet<_> = held.map(|(lease, _)| &*lease.name).collect();
        let members = renewal.models.iter().map(|model| {
            let mut members = of("member", model).unwrap_or_default();
            // The statement reads the rows as they were before it, so it does not see this process
            // join.
            members.push(renewal.process);
            members.sort_unstable();
            members
        });
        let members = members.collect();
        // A lease that had expired and is renewed now was not seen as held.
        let holder = |name: &String| match held.contains(&**name) {
            true => Some(renewal.process),
            false => of("holder", name)?.into_iter().next(),
        };
        let holders = renewal.partitions.iter().map(holder).collect();
        let pauses = renewal.models.iter().map(|model| pauses.get(model).cloned()).collect();
        Ok(Renewed { leases, members, holders, pauses })
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
