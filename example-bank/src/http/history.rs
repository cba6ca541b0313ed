//! `GET /accounts/{id}/history`: what happened to an account, page by page, from the log itself.

use actix_web::web::{Json, Query};
use actum::web::Problem;
use actum::{EventEnvelope, GlobalPosition, StreamVersion};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};

use super::openapi::AccountId;
use super::reading::Reading;
use super::{App, page, unknown_account};
use crate::account::{Account, AccountEvent, Refusal};

/// `?after=<version>&limit=`: at most `limit` events after that version.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Range {
    /// Continue after this version.
    #[serde(default)]
    #[param(schema_with = super::openapi::version, required = false)]
    after: StreamVersion,
    /// Most entries of the page. A page of large entries may have fewer.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct HistoryPage {
    events: Vec<Entry>,
    /// The version to continue after; `null` when this page reaches the end.
    #[schema(value_type = Option<u64>, required)]
    next: Option<StreamVersion>,
}

/// One event, as its stream shows it too.
#[derive(Serialize, ToSchema)]
pub(super) struct Entry {
    #[schema(value_type = u64)]
    version: StreamVersion,
    #[schema(value_type = u64)]
    position: GlobalPosition,
    r#type: String,
    /// As it was stored, byte for byte; `null` if the event has nothing to tell.
    #[schema(value_type = Option<Object>, required)]
    data: Box<RawValue>,
    #[schema(format = DateTime)]
    recorded_at: String,
}

/// What happened to the account, page by page, from the log itself.
#[utoipa::path(get, path = "/accounts/{id}/history", tag = "accounts", params(AccountId, Range),
    responses((status = 200, description = "A page", body = HistoryPage)))]
pub(super) async fn history(
    app: App,
    reading: Reading,
    range: Query<Range>,
) -> Result<Json<HistoryPage>, Problem> {
    let limit = page::limit(range.limit)?;
    let id = reading.allowed(&app).await?;
    // One more than requested: if it comes, the page is not the last one.
    let found = read(&app, &id, range.after, limit + 1).await?;
    let exists = !found.is_empty() || !read(&app, &id, StreamVersion::ZERO, 1).await?.is_empty();
    if !exists {
        return Err(Problem::refused(&Refusal::UnknownAccount));
    }
    let mut events = found.iter().map(Entry::of).collect::<Result<Vec<_>, _>>()?;
    let mut has_more = page::cut(&mut events, limit)?;
    // The store also ends a page that is large in bytes, so one that is not cut may not be the last.
    if let Some(last) = found.last().filter(|_| !has_more) {
        has_more = !read(&app, &id, last.version, 1).await?.is_empty();
    }
    let next = events.last().filter(|_| has_more).map(|entry| entry.version);
    Ok(Json(HistoryPage { events, next }))
}

pub(super) type Envelope = EventEnvelope<AccountEvent>;

pub(super) async fn read(
    app: &App,
    id: &str,
    after: StreamVersion,
    limit: usize,
) -> Result<Vec<Envelope>, Problem> {
    app.history::<Account>(id, after, limit).await.map_err(unknown_account)
}

impl Entry {
    pub(super) fn of(envelope: &Envelope) -> Result<Self, Problem> {
        let data = RawValue::from_string(envelope.payload.clone());
        let recorded_at = envelope.recorded_at.format(&Rfc3339);
        Ok(Self {
            version: envelope.version,
            position: envelope.position,
            r#type: envelope.event_type.clone(),
            data: data.map_err(|error| Problem::internal(&error))?,
            recorded_at: recorded_at.map_err(|error| Problem::internal(&error))?,
        })
    }
}
