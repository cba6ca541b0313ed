//! Freshness of reads: the position that a response must reflect, and the one that it reflects.
//!
//! With `?after=<position>` a read waits until the document or the rows reflect the log up to there,
//! at most `?within=<ms>` milliseconds. The response contains its position in the body and in the header
//! `Actum-Position`. If the wait ends first, the response is a 504.

use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::Query;
use actix_web::{FromRequest, HttpRequest, HttpResponse, Responder};
use serde::{Deserialize, Serialize};

use super::precondition::is_known;
use super::problem::{Problem, etag};
use crate::application::Application;
use crate::error::{BoxError, ReadError};
use crate::event::{GlobalPosition, StreamVersion};
use crate::projection::Projection;
use crate::read_model::{Document, ReadModel};
use crate::store::contract::sql::SqlConnection;

/// Response header with the position that the response reflects.
pub const POSITION_HEADER: &str = "Actum-Position";

/// The query parameters `after` and `within` of a request: an extractor. Any other parameter is
/// refused, so a route with parameters of its own reads them with actix's `Query` and passes its
/// `after` to [`Application::read`] or [`Application::query`].
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Freshness {
    after: GlobalPosition,
    within: Option<u64>,
}

impl Freshness {
    /// Reads the document of the read model `M` with this key, as fresh as requested.
    ///
    /// # Errors
    /// [`ReadError`]; `NotYet` if the wait ends first.
    pub async fn read<M: ReadModel>(
        &self,
        app: &Application,
        key: &str,
    ) -> Result<DocumentAnswer<M>, ReadError> {
        let read = app.read::<M>(key).after(self.after);
        let document = match self.within {
            None => read.await?,
            Some(ms) => read.within(Duration::from_millis(ms)).await?,
        };
        let Document { body, position } = document;
        let version = body.version();
        Ok(DocumentAnswer { id: key.to_owned(), body, position, version })
    }

    /// Runs a query for something with this key on the rows of the projection `P`, as fresh as
    /// requested. `None` from the query means that the rows do not have it; see [`Query::find`](crate::Query::find).
    ///
    /// # Errors
    /// [`ReadError`]; `NotFound` if the rows do not have it, `NotYet` if the wait ends first.
    pub async fn find<P: Projection, T>(
        &self,
        app: &Application,
        key: &str,
        query: impl AsyncFn(&mut SqlConnection<'_>, GlobalPosition) -> Result<Option<T>, BoxError>,
    ) -> Result<DocumentAnswer<T>, ReadError> {
        let asked = app.query::<P>().after(self.after);
        let asked = match self.within {
            None => asked,
            Some(ms) => asked.within(Duration::from_millis(ms)),
        };
        let (body, position) = asked.find(key, query).await?;
        Ok(DocumentAnswer { id: key.to_owned(), body, position, version: None })
    }
}

impl FromRequest for Freshness {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let refused = |detail: String| Problem::new(400, "invalid_query", detail);
        ready(match Query::<Self>::from_query(request.query_string()) {
            Ok(Query(Self { within: Some(0), .. })) => Err(refused("within is 1 or more".into())),
            Ok(Query(freshness)) => Ok(freshness),
            Err(error) => Err(refused(error.to_string())),
        })
    }
}

/// Response of a read: the document's fields between its `id` and its `position`.
#[derive(Debug, Clone, Serialize)]
pub struct DocumentAnswer<T> {
    id: String,
    #[serde(flatten)]
    body: T,
    position: GlobalPosition,
    #[serde(skip)]
    version: Option<StreamVersion>,
}

impl<T> DocumentAnswer<T> {
    /// Replaces the document by the result of `view`, at the same position and version.
    pub fn map<U>(self, view: impl FnOnce(T) -> U) -> DocumentAnswer<U> {
        let Self { id, body, position, version } = self;
        DocumentAnswer { id, body: view(body), position, version }
    }
}

impl<T: Serialize> Responder for DocumentAnswer<T> {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let version = self.version.unwrap_or_default();
        let is_known = is_known(request.headers(), version);
        let mut response = match is_known {
            true => HttpResponse::NotModified(),
            false => HttpResponse::Ok(),
        };
        response.insert_header((POSITION_HEADER, self.position.to_string()));
        if let Some(etag) = etag(version) {
            response.insert_header((header::ETAG, etag));
        }
        match is_known {
            true => response.finish(),
            false => response.json(self),
        }
    }
}
