//! The projection `Statement`: one row per booking, with the balance after it.
//!
//! The same code runs on SQLite and on PostgreSQL. `http/statement.rs` serves it over HTTP.

use std::collections::{BTreeMap, BTreeSet};

use actum::{
    BoxError, ComparedRows, EventEnvelope, EventSources, GlobalPosition, Projection, SqlConnection,
    SqlError, SqlRow, SqlValue, StreamVersion,
};
use time::{Duration, OffsetDateTime};

use crate::account::{Account, AccountEvent};

/// Statements of all accounts.
pub struct Statement;

/// Money in, or money out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Booking {
    /// Number of the booking: the version of the account after it.
    #[schema(value_type = u64)]
    pub booking: StreamVersion,
    /// Position of the booking in the log.
    #[schema(value_type = u64)]
    pub position: GlobalPosition,
    /// `credited`, `withdrawn`, `transferred_out`, `transferred_in`, or `taken_back` for money of a
    /// transfer that came back.
    pub kind: String,
    /// Amount in minor units: above zero if money came in, below zero if it went out.
    pub amount: i64,
    /// Balance of the account after the booking.
    pub balance: i64,
    /// Time of the booking, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub booked_at: OffsetDateTime,
}

/// Selection of bookings by time, booking number and count.
#[derive(Debug, Clone, Copy)]
pub struct Period {
    /// Earliest time, inclusive.
    pub from: Option<OffsetDateTime>,
    /// Latest time, exclusive.
    pub to: Option<OffsetDateTime>,
    /// Number of the booking after which to start.
    pub after: StreamVersion,
    /// Maximum number of bookings.
    pub limit: usize,
}

const BOOKING: [&str; 7] =
    ["account", "booking", "position", "kind", "amount", "balance", "booked_at"];

#[async_trait::async_trait]
impl Projection for Statement {
    const NAME: &'static str = "statement";
    type Event = EventEnvelope<AccountEvent>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Account>()
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        db.execute(
            "CREATE TABLE accounts (account TEXT PRIMARY KEY, balance BIGINT NOT NULL)",
            &[],
        )
        .await?;
        db.execute(
            "CREATE TABLE bookings (
                account   TEXT        NOT NULL,
                booking   BIGINT      NOT NULL,
                position  BIGINT      NOT NULL,
                kind      TEXT        NOT NULL,
                amount    BIGINT      NOT NULL,
                balance   BIGINT      NOT NULL,
                booked_at TIMESTAMPTZ NOT NULL,
                PRIMARY KEY (account, booking)
            )",
            &[],
        )
        .await?;
        Ok(())
    }

    fn compared() -> &'static [ComparedRows] {
        &[
            ComparedRows { table: "accounts", key: &["account"], columns: &["balance"] },
            ComparedRows {
                table: "bookings",
                key: &["account", "booking"],
                columns: &["position", "kind", "amount", "balance", "booked_at"],
            },
        ]
    }

    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        // One query and two inserts per batch, because a batch may have thousands of events.
        let mut balances = balances(events, db).await?;
        let mut bookings = Vec::with_capacity(events.len());
        for event in events {
            let balance = balances.entry(event.stream.id()).or_default();
            let kind = match &event.event {
                AccountEvent::Credited { .. } => "credited",
                AccountEvent::Withdrawn { .. } => "withdrawn",
                AccountEvent::TransferredOut { .. } => "transferred_out",
                AccountEvent::TransferredIn { .. } => "transferred_in",
                AccountEvent::TakenBack { .. } => "taken_back",
                AccountEvent::Opened { .. }
                | AccountEvent::CreditLimitGranted { .. }
                | AccountEvent::Frozen
                | AccountEvent::Unfrozen
                | AccountEvent::Closed
                | AccountEvent::Reopened => continue,
            };
            let amount = event.event.change();
            *balance += amount;
            bookings.push(vec![
                event.stream.id().into(),
                event.version.into(),
                event.position.into(),
                kind.into(),
                amount.into(),
                (*balance).into(),
                event.recorded_at.into(),
            ]);
        }
        db.insert("bookings", &BOOKING, bookings, "").await?;
        let accounts = balances.into_iter().map(|(id, balance)| vec![id.into(), balance.into()]);
        // Accounts without a booking get a row too, so that `of` can distinguish them from accounts
        // that do not exist.
        let then = "ON CONFLICT (account) DO UPDATE SET balance = excluded.balance";
        db.insert("accounts", &["account", "balance"], accounts.collect(), then).await?;
        Ok(())
    }
}

/// Returns the balances, before these events, of the accounts that have one.
async fn balances<'e>(
    events: &'e [EventEnvelope<AccountEvent>],
    db: &mut SqlConnection<'_>,
) -> Result<BTreeMap<&'e str, i64>, SqlError> {
    let ids: BTreeSet<&str> = events.iter().map(|event| event.stream.id()).collect();
    let asked: Vec<SqlValue> = ids.iter().map(|id| (*id).into()).collect();
    let found =
        db.rows_in("SELECT account, balance FROM accounts WHERE account IN", &asked).await?;
    let mut balances = BTreeMap::new();
    for row in found {
        let id: String = row.get(0)?;
        if let Some(id) = ids.get(&*id) {
            balances.insert(*id, row.get(1)?);
        }
    }
    Ok(balances)
}

impl Statement {
    /// Returns the bookings of an account in a period, in order, or `None` if the account does not
    /// exist.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn of(
        account: &str,
        period: &Period,
        db: &mut SqlConnection<'_>,
    ) -> Result<Option<Vec<Booking>>, BoxError> {
        let known = "SELECT 1 FROM accounts WHERE account = $1";
        if db.rows(known, &[account.into()]).await?.is_empty() {
            return Ok(None);
        }
        let (first, last) = (OffsetDateTime::UNIX_EPOCH, OffsetDateTime::UNIX_EPOCH + END_OF_TIME);
        let values = [
            account.into(),
            period.after.into(),
            period.from.unwrap_or(first).into(),
            period.to.unwrap_or(last).into(),
            (period.limit as i64).into(), // a limit is small
        ];
        let bookings = db.rows(
            "SELECT booking, position, kind, amount, balance, booked_at FROM bookings
             WHERE account = $1 AND booking > $2 AND booked_at >= $3 AND booked_at < $4
             ORDER BY booking LIMIT $5",
            &values,
        );
        let bookings = bookings.await?.iter().map(booking).collect::<Result<_, _>>()?;
        Ok(Some(bookings))
    }
}

/// 9999-12-31: later than any booking.
const END_OF_TIME: Duration = Duration::seconds(253_402_214_400);

fn booking(row: &SqlRow) -> Result<Booking, SqlError> {
    Ok(Booking {
        booking: row.get(0)?,
        position: row.get(1)?,
        kind: row.get(2)?,
        amount: row.get(3)?,
        balance: row.get(4)?,
        booked_at: row.get(5)?,
    })
}

#[cfg(test)]
mod tests;
