//! History of one aggregate over HTTP: page by page from the log, and live as server-sent events.
//!
//! Both show the same entries. The id of a live message is the version of the event. A client that
//! was disconnected sends the last id as `Last-Event-ID` (or `?after=`) and resumes after it, from
//! the log.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Query;
use actix_web::{FromRequest, HttpRequest, HttpResponse, Responder};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};

use super::limits::Streams;
use super::page::{PAGE_BYTES, cut_page, page_limit};
use super::problem::Problem;
use super::resume::ResumeAfter;
use super::sse::{ServerSentEvents, SseMessage};
use crate::aggregate::Aggregate;
use crate::application::Application;
use crate::error::ReadError;
use crate::event::{EventEnvelope, GlobalPosition, StreamVersion};
use crate::store::contract::PageLimit;

/// `?after=<version>&limit=`: at most `limit` events after that version. An extractor.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryRange {
    /// Continue after this version.
    #[serde(default)]
    #[param(schema_with = super::openapi::version, required = false)]
    after: StreamVersion,
    /// Most entries of the page. A page of large entries may have fewer.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<usize>,
}

/// A page of an aggregate's history, as JSON.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryPage {
    events: Vec<Entry>,
    /// The version to continue after; `null` when this page reaches the end.
    #[schema(value_type = Option<u64>, required)]
    next: Option<StreamVersion>,
}

/// One event, as its stream shows it too.
#[derive(Debug, Serialize, ToSchema)]
struct Entry {
    #[schema(value_type = u64)]
    version: StreamVersion,
    #[schema(value_type = u64)]
    position: GlobalPosition,
    r#type: String,
    /// Payload of the event, byte for byte as it was stored; `null` if the event has no fields.
    #[schema(value_type = Option<Object>, required)]
    data: Box<RawValue>,
    #[schema(format = DateTime)]
    recorded_at: String,
}

impl HistoryRange {
    /// Reads the page of this range. Authorise the reader before the call.
    ///
    /// # Errors
    /// 404 `unknown_<type>`: the aggregate has no event. 400: the range or the id is not valid.
    /// 503: the store is not available.
    pub async fn read<A: Aggregate>(
        &self,
        app: &Application,
        id: &str,
    ) -> Result<HistoryPage, Problem> {
        // One entry more than requested: if it exists, the page is not the last one.
        let found = read::<A>(app, id, self.after, self.limit()? + 1).await?;
        if found.is_empty() && !exists::<A>(app, id).await? {
            return Err(Problem::unknown::<A>());
        }
        let mut events = found.iter().map(Entry::of).collect::<Result<Vec<_>, _>>()?;
        let mut has_more = cut_page(&mut events, self.limit()?)?;
        // The store also ends a page by its bytes, so a page that was not cut here may still not be
        // the last one. What is held meanwhile is no larger than the response.
        if let Some(last) = found.last().filter(|_| !has_more) {
            has_more = !read::<A>(app, id, last.version, 1).await?.is_empty();
        }
        let next = events.last().filter(|_| has_more).map(|entry| entry.version);
        Ok(HistoryPage { events, next })
    }

    fn limit(&self) -> Result<usize, Problem> {
        page_limit(self.limit)
    }
}

impl FromRequest for HistoryRange {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let invalid = |detail: String| Problem::new(400, "invalid_query", detail);
        let range = Query::<Self>::from_query(request.query_string());
        let range = range.map_err(|error| invalid(error.to_string()));
        ready(range.and_then(|Query(range)| range.limit().map(|_| range)))
    }
}

impl Responder for HistoryPage {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::Ok().json(self)
    }
}

/// Follows the aggregate `A` with this id for the client of this request: sends a message for each
/// event as it happens. Authorise the reader before the call.
///
/// # Errors
/// 404 `unknown_<type>`: the aggregate has no event. 400: the id is not valid, or the client names
/// an event that does not exist yet. 429 and 503: a limit of live streams is reached.
pub async fn follow<A: Aggregate>(
    app: &Application,
    id: &str,
    ResumeAfter(after): ResumeAfter,
    request: &HttpRequest,
) -> Result<impl Responder + use<A>, Problem> {
    let mut events = app.follow::<A>(id, StreamVersion(after))?;
    // The event that the client names must exist. Otherwise it would wait for events that it
    // believes to have received.
    let last = StreamVersion(after.saturating_sub(1));
    if read::<A>(app, id, last, 1).await?.is_empty() {
        return Err(match exists::<A>(app, id).await? {
            false => Problem::unknown::<A>(),
            true => {
                let detail = format!("the {} has no event {after} yet", A::TYPE);
                Problem::new(400, "invalid_last_event_id", detail)
            }
        });
    }
    // Last, so that an invalid request gets its own error, however many streams the client has.
    let place = Streams::enter(request)?;
    Ok(ServerSentEvents::new(async move || {
        let _held = &place;
        let Some(event) = events.next().await? else { return Ok(None) };
        let message = SseMessage::new(event.version.0, &event.event_type, &Entry::of(&event)?)?;
        Ok(Some(message))
    }))
}

async fn exists<A: Aggregate>(app: &Application, id: &str) -> Result<bool, Problem> {
    Ok(!read::<A>(app, id, StreamVersion::ZERO, 1).await?.is_empty())
}

async fn read<A: Aggregate>(
    app: &Application,
    id: &str,
    after: StreamVersion,
    limit: usize,
) -> Result<Vec<EventEnvelope<A::Event>>, Problem> {
    let limit = PageLimit::events(limit).bytes(PAGE_BYTES);
    let found = app.history_page::<A>(id, after, limit).await;
    found.map_err(|error| Problem::reading::<A>(error))
}

impl Problem {
    /// 404 `unknown_<type>`: there is no aggregate of this type with the id of the request.
    pub fn unknown<A: Aggregate>() -> Self {
        let code = format!("unknown_{}", A::TYPE);
        Self::new(404, code, format!("there is no such {}", A::TYPE))
    }

    /// Converts the error of a read about an aggregate. `NotFound` becomes [`Problem::unknown`].
    pub fn reading<A: Aggregate>(error: ReadError) -> Self {
        match error {
            ReadError::NotFound { .. } => Self::unknown::<A>(),
            other => other.into(),
        }
    }
}

impl Entry {
    fn of<E>(envelope: &EventEnvelope<E>) -> Result<Self, Problem> {
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
