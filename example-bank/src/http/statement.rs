//! `GET /accounts/{id}/statement`: the bookings of an account in a period, page by page.

use actix_web::web::{Json, Query};
use actum::web::openapi::{AggregateId, position, version};
use actum::web::{Problem, cut_page, moment, page_limit};
use actum::{GlobalPosition, StreamVersion};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::reading::Reading;
use super::{App, values};
use crate::account::Account;
use crate::statement::{Booking, Period, Statement};

/// `?from=&to=` are times such as `2026-01-31T12:00:00Z`, or dates, whose first moment (UTC) is
/// meant; `from` is included, `to` is not. `?after_booking=&limit=` asks for the next page;
/// `?after=` for what reflects the log up to a position.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// At this time or later.
    #[param(schema_with = values::moment)]
    from: Option<String>,
    /// Before this time.
    #[param(schema_with = values::moment)]
    to: Option<String>,
    /// Most bookings of the page. A page of long bookings may have fewer.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<usize>,
    /// Continue after this booking.
    #[serde(default)]
    #[param(schema_with = version, required = false)]
    after_booking: StreamVersion,
    /// Answer only what reflects the log up to this position.
    #[serde(default)]
    #[param(schema_with = position, required = false)]
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

/// Returns the bookings of the account in a period, page by page.
#[utoipa::path(get, path = "/accounts/{id}/statement", tag = "accounts", params(AggregateId, Asked),
    responses((status = 200, description = "A page", body = StatementPage)))]
pub(super) async fn statement(
    app: App,
    reading: Reading,
    asked: Query<Asked>,
) -> Result<Json<StatementPage>, Problem> {
    let limit = page_limit(asked.limit)?;
    let (from, to) = (moment("from", asked.from.as_deref())?, moment("to", asked.to.as_deref())?);
    let id = reading.allowed(&app).await?;
    // One booking more than requested: if it exists, the page is not the last one.
    let period = Period { from, to, after: asked.after_booking, limit: limit + 1 };
    let found = app
        .query::<Statement>()
        .after(asked.after)
        .find(&id, async |db, _| Statement::of(&id, &period, db).await);
    let (mut bookings, position) = found.await.map_err(Problem::reading::<Account>)?;
    let has_more = cut_page(&mut bookings, limit)?;
    let next = bookings.last().filter(|_| has_more).map(|last| last.booking);
    Ok(Json(StatementPage { id, bookings, next, position }))
}
