//! OpenAPI document of a route table, and the parts with which handlers describe themselves.
//!
//! A handler's attribute `#[utoipa::path]` describes what is specific to it: its path, its
//! parameters and its successful response. The possible errors follow from the method, the policy
//! and the parameters. So [`Routes::document`] adds them to every operation, and no handler can
//! forget them.

pub(super) mod deferred;
mod links;
mod parameters;
mod problems;
mod refusals;
mod responses;
mod values;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::web::{Bytes, Data};
use serde::de::DeserializeOwned;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, OpenApi};

pub(super) use self::deferred::{CommandId, Status};
pub use self::parameters::AggregateId;
pub use self::responses::{Accepted, Created, Done, Message, NoMembers, Read};
pub use self::values::{new_id, position, version};
use super::docs;
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use crate::aggregate::Aggregate;
use crate::command::Claim;

/// Description of a table of routes, as far as the table itself does not have it.
#[derive(Clone, Default)]
pub(super) struct Api {
    parts: Vec<fn() -> OpenApi>,
    aggregates: Vec<Described>,
    /// Codes of the problem that a claimed value belongs to another aggregate.
    taken: Vec<String>,
}

/// An aggregate whose routes begin with one path.
#[derive(Clone)]
struct Described {
    path: &'static str,
    aggregate_type: &'static str,
    refusals: Vec<String>,
}

impl Api {
    pub(super) fn merge(&mut self, other: Self) {
        self.parts.extend(other.parts);
        self.aggregates.extend(other.aggregates);
        self.taken.extend(other.taken);
    }
}

impl Routes {
    /// Adds the descriptions of handlers: the function `openapi` of a type that derives
    /// `utoipa::OpenApi`. The first one with a title names the whole.
    #[must_use]
    pub fn described_by(mut self, part: fn() -> OpenApi) -> Self {
        self.api.parts.push(part);
        self
    }

    /// Describes the routes below `path` as those of the aggregate `A`: its refusals by their
    /// codes, and 404 `unknown_<type>`.
    #[must_use]
    pub fn of_aggregate<A: Aggregate<Error: DeserializeOwned>>(
        mut self,
        path: &'static str,
    ) -> Self {
        let refusals = refusals::codes::<A::Error>();
        self.api.aggregates.push(Described { path, aggregate_type: A::TYPE, refusals });
        self
    }

    /// Describes the problem 409 of values of these kinds that another aggregate has claimed.
    #[must_use]
    pub fn claims(mut self, kinds: &[&str]) -> Self {
        let taken = kinds.iter().map(|kind| Claim::take(kind, "").taken_code());
        self.api.taken.extend(taken);
        self
    }

    /// Returns the OpenAPI 3.1 document of the described routes of this table.
    pub fn document(&self) -> OpenApi {
        let mut parts = self.api.parts.iter().map(|part| part());
        let mut document = parts.next().unwrap_or_default();
        for part in parts {
            document.merge(part);
        }
        for (method, path, policy) in self.list() {
            let operation = document.paths.paths.get_mut(path).and_then(|item| of(item, method));
            let Some(operation) = operation else { continue };
            secure(operation, policy);
            problems::add(operation, method, path, policy, &self.api);
            responses::allow_no_body(operation);
        }
        links::add(&mut document);
        let components = document.components.get_or_insert_with(Components::new);
        problems::describe(components, &self.api);
        responses::describe(components);
        responses::close_all(components);
        components.add_security_scheme("bearer", bearer());
        document
    }
}

fn of<'d>(item: &'d mut PathItem, method: &Method) -> Option<&'d mut Operation> {
    match method.as_str() {
        "GET" => item.get.as_mut(),
        "POST" => item.post.as_mut(),
        "PUT" => item.put.as_mut(),
        "DELETE" => item.delete.as_mut(),
        _ => None, // A HEAD goes with its GET.
    }
}

/// Adds the scope that a route requires, from its policy.
fn secure(operation: &mut Operation, policy: Policy) {
    let needed = policy.needs_credential().then(|| policy.scope());
    let scope = needed.map(|scope| SecurityRequirement::new("bearer", scope));
    operation.security = Some(Vec::from_iter(scope));
}

fn bearer() -> SecurityScheme {
    let told = "An API key of a machine, or a JWT of a person. Each route names the scope it asks \
                for; a server in dev mode asks nobody.";
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(told));
    SecurityScheme::Http(bearer.build())
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(openapi))]
struct Description;

/// Routes `GET /openapi.json`, the document of the whole table, and `GET /docs`, the same as a page
/// that can send each request. Both are public.
pub fn api_document() -> Routes {
    Routes::new()
        .get("/openapi.json", openapi)
        .public()
        .get("/docs", docs::index)
        .public()
        .get("/docs/{file}", docs::file)
        .public()
        .described_by(<Description as utoipa::OpenApi>::openapi)
}

/// Returns this document.
#[utoipa::path(get, path = "/openapi.json", tag = "about",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object)))]
async fn openapi(document: Data<Document>) -> Result<HttpResponse, Problem> {
    match &*document.0 {
        Ok(document) => {
            Ok(HttpResponse::Ok().content_type("application/json").body(document.clone()))
        }
        Err(error) => Err(Problem::internal(error)),
    }
}

/// The document as JSON, created at the first request. All responses share one copy, so a client
/// that does not read costs no memory for it.
pub(super) struct Document(LazyLock<Result<Bytes, String>, Writing>);

type Writing = Box<dyn FnOnce() -> Result<Bytes, String> + Send>;

impl Document {
    pub(super) fn of(routes: Routes) -> Self {
        Self(LazyLock::new(Box::new(move || {
            let text = routes.document().to_json();
            text.map(Bytes::from).map_err(|error| error.to_string())
        })))
    }
}
