//! `GET /accounts/{id}/statement`: the bookings of an account in a period, page by page.

use actix_web::web::{Json, Query};
use actum::web::Problem;
use actum::{Aggregate, GlobalPosition, ReadError, StreamId, StreamVersion};
use serde::{Deserialize, Serialize};
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{Date, OffsetDateTime};

use super::App;
use super::reading::Reading;
use crate::account::{Account, Refusal};
use crate::statement::{Booking, Period, Statement};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

/// `?from=&to=` are times such as `2026-01-31T12:00:00Z`, or dates, whose first moment (UTC) is meant;
/// `from` is included, `to` is not. `?after_booking=&limit=` asks for the next page; `?after=` for
/// what reflects the log up to a position.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    after_booking: StreamVersion,
    #[serde(default)]
    after: GlobalPosition,
}

#[derive(Serialize)]
pub(super) struct StatementPage {
    id: String,
    bookings: Vec<Booking>,
    /// The booking to continue after; `null` when this page reaches the end of the period.
    next: Option<StreamVersion>,
    /// The statement reflects the log up to here.
    position: GlobalPosition,
}

pub(super) async fn statement(
    app: App,
    reading: Reading,
    asked: Query<Asked>,
) -> Result<Json<StatementPage>, Problem> {
    let limit = asked.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(invalid(format!("a limit is 1 to {MAX_LIMIT}")));
    }
    let (from, to) = (moment("from", &asked.from)?, moment("to", &asked.to)?);
    let id = reading.allowed(&app).await?;
    StreamId::new(Account::TYPE, &id).map_err(ReadError::from)?;
    // One more than asked for tells whether the page is the last one.
    let period = Period { from, to, after: asked.after_booking, limit: limit + 1 };
    let found = app.query::<Statement, _>(asked.after, async |db, position| {
        Ok((Statement::of(&id, &period, db).await?, position))
    });
    let (found, position) = found.await?;
    let mut bookings = found.ok_or_else(|| Problem::refused(&Refusal::UnknownAccount))?;
    let is_last = bookings.len() <= limit;
    bookings.truncate(limit);
    let next = bookings.last().filter(|_| !is_last).map(|last| last.booking);
    Ok(Json(StatementPage { id, bookings, next, position }))
}

fn moment(name: &str, text: &Option<String>) -> Result<Option<OffsetDateTime>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    let date = || Some(Date::parse(text, &Iso8601::DATE).ok()?.midnight().assume_utc());
    let moment = time.or_else(date).ok_or_else(|| {
        invalid(format!("{name} is a date or a time, such as 2026-01-31 or 2026-01-31T12:00:00Z"))
    });
    moment.map(Some)
}

fn invalid(detail: String) -> Problem {
    Problem::new(400, "invalid_query", detail)
}
