//! `GET /accounts/{id}/statement`: the bookings of an account in a period, page by page.

use actix_web::web::{Json, Query};
use actum::web::Problem;
use actum::{GlobalPosition, StreamVersion};
use serde::{Deserialize, Serialize};
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{Date, OffsetDateTime};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::openapi::AccountId;
use super::reading::Reading;
use crate::account::Refusal;
use crate::statement::{Booking, Period, Statement};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

/// `?from=&to=` are times such as `2026-01-31T12:00:00Z`, or dates, whose first moment (UTC) is meant;
/// `from` is included, `to` is not. `?after_booking=&limit=` asks for the next page; `?after=` for
/// what reflects the log up to a position.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// At this time or later.
    #[param(schema_with = super::openapi::moment)]
    from: Option<String>,
    /// Before this time.
    #[param(schema_with = super::openapi::moment)]
    to: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<usize>,
    /// Continue after this booking.
    #[serde(default)]
    #[param(schema_with = super::openapi::version, required = false)]
    after_booking: StreamVersion,
    /// Answer only what reflects the log up to this position.
    #[serde(default)]
    #[param(schema_with = super::openapi::position, required = false)]
    after: GlobalPosition,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StatementPage {
    id: String,
    bookings: Vec<Booking>,
    /// The booking to continue after; `null` when this page reaches the end of the period.
    #[schema(value_type = Option<u64>, required)]
    next: Option<StreamVersion>,
    /// The statement reflects the log up to here.
    #[schema(value_type = u64)]
    position: GlobalPosition,
}

/// The bookings of the account in a period, page by page.
#[utoipa::path(get, path = "/accounts/{id}/statement", tag = "accounts", params(AccountId, Asked),
    responses((status = 200, description = "A page", body = StatementPage)))]
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
