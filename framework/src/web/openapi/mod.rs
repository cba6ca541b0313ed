//! OpenAPI document of a route table, and the parts with which handlers describe themselves.
//!
//! A handler's attribute `#[utoipa::path]` describes what is specific to it: its path, its
//! parameters and its successful response. The possible errors follow from the method, the policy
//! and the parameters. So
//! [`Routes::document`](crate::web::Routes::document) adds them to every operation, and no handler can
//! forget them.

pub(super) mod deferred;
mod links;
mod parameters;
mod problems;
mod refusals;
mod responses;
mod values;

use actix_web::http::Method;
use serde::de::DeserializeOwned;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, OpenApi};

pub(super) use self::deferred::{CommandId, Status};
pub use self::parameters::AggregateId;
pub use self::responses::{Accepted, Created, Done, Message, NoMembers, Read, Started};
pub use self::values::{new_id, position, version};
use super::policy::Policy;
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

    pub(super) fn describe(&mut self, part: fn() -> OpenApi) {
        self.parts.push(part);
    }

    pub(super) fn of_aggregate<A: Aggregate<Error: DeserializeOwned>>(
        &mut self,
        path: &'static str,
    ) {
        let refusals = refusals::codes::<A::Error>();
        self.aggregates.push(Described { path, aggregate_type: A::TYPE, refusals });
    }

    pub(super) fn claims(&mut self, kinds: &[&str]) {
        let taken = kinds.iter().map(|kind| Claim::take(kind, "").taken_code());
        self.taken.extend(taken);
    }

    /// Returns the document of these routes.
    pub(super) fn document<'r>(
        &self,
        routes: impl Iterator<Item = (&'r Method, &'static str, Policy)>,
    ) -> OpenApi {
        let mut parts = self.parts.iter().map(|part| part());
        let mut document = parts.next().unwrap_or_default();
        for part in parts {
            document.merge(part);
        }
        for (method, path, policy) in routes {
            let operation = document.paths.paths.get_mut(path).and_then(|item| of(item, method));
            let Some(operation) = operation else { continue };
            secure(operation, policy);
            problems::add(operation, method, path, policy, self);
            responses::allow_no_body(operation);
        }
        links::add(&mut document);
        let components = document.components.get_or_insert_with(Components::new);
        problems::describe(components, self);
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
