//! Route table of an application. Every route has a policy.
//!
//! The table can be read, so the guard that enforces the policies, the API's documentation and the
//! tests use the same routes.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder};
use serde::de::DeserializeOwned;
use utoipa::openapi::OpenApi;

use super::exchange::exchange;
use super::openapi::Api;
use super::policy::Policy;
use super::problem::Problem;
use crate::aggregate::Aggregate;

/// Adds a route to a resource. Called once in each worker, because actix builds the `App` there.
type Register = Arc<dyn Fn(Resource) -> Resource + Send + Sync>;

/// A table of routes. A route needs a credential unless it says otherwise: [`Routes::needs`],
/// [`Routes::public`] and [`Routes::probe`] are about the route that was added last.
///
/// ```
/// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
/// # use tour::*;
/// # use actix_web::web::{Data, Path};
/// # use actum::Application;
/// use actum::web::{DocumentAnswer, Freshness, Problem, Routes};
///
/// async fn balance(
///     app: Data<Application>,
///     id: Path<String>,
///     freshness: Freshness,
/// ) -> Result<DocumentAnswer<Balance>, Problem> {
///     Ok(freshness.read(&app, &id).await?)
/// }
///
/// let routes = Routes::new()
///     .get("/accounts/{id}", balance)
///     .needs("accounts:read")
///     .get("/about", async || "a bank")
///     .public()
///     .merge(actum::web::health());
/// ```
#[derive(Clone, Default)]
pub struct Routes {
    routes: Vec<Route>,
    /// Number of entries that the last call has added: a `GET` brings its `HEAD`.
    last: usize,
    api: Api,
}

#[derive(Clone)]
struct Route {
    method: Method,
    path: &'static str,
    policy: Policy,
    register: Register,
}

impl Routes {
    /// Creates an empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route for `GET` and, without the body, `HEAD`.
    #[must_use]
    pub fn get<F, Args>(self, path: &'static str, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let also = handler.clone();
        let mut routes = self.route(Method::GET, path, handler).route(Method::HEAD, path, also);
        routes.last = 2;
        routes
    }

    /// Adds a route for `POST`.
    #[must_use]
    pub fn post<F, Args>(self, path: &'static str, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route(Method::POST, path, handler)
    }

    /// Adds a route for `PUT`.
    #[must_use]
    pub fn put<F, Args>(self, path: &'static str, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route(Method::PUT, path, handler)
    }

    /// Adds a route for `DELETE`.
    #[must_use]
    pub fn delete<F, Args>(self, path: &'static str, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route(Method::DELETE, path, handler)
    }

    /// Adds a route for this method.
    #[must_use]
    pub fn route<F, Args>(mut self, method: Method, path: &'static str, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let answered = method.clone();
        let register: Register = Arc::new(move |resource| {
            resource.route(web::method(answered.clone()).to(handler.clone()))
        });
        self.routes.push(Route { method, path, policy: Policy::Authenticated, register });
        self.last = 1;
        self
    }

    /// Requires a credential with this scope for the route that was added last.
    #[must_use]
    pub fn needs(self, scope: &'static str) -> Self {
        self.policy_of_last(Policy::Scope(scope))
    }

    /// Requires a credential with this scope for all routes of this table that name no policy.
    #[must_use]
    pub fn each_needs(mut self, scope: &'static str) -> Self {
        let open = self.routes.iter_mut().filter(|route| route.policy == Policy::Authenticated);
        open.for_each(|route| route.policy = Policy::Scope(scope));
        self
    }

    /// Requires no credential for the route that was added last.
    #[must_use]
    pub fn public(self) -> Self {
        self.policy_of_last(Policy::Public)
    }

    /// Requires no credential for the route that was added last, and exempts it from the rate
    /// limit.
    #[must_use]
    pub fn probe(self) -> Self {
        self.policy_of_last(Policy::Probe)
    }

    pub(super) fn for_operators(self) -> Self {
        self.policy_of_last(Policy::Operator)
    }

    fn policy_of_last(mut self, policy: Policy) -> Self {
        for route in self.routes.iter_mut().rev().take(self.last) {
            route.policy = policy;
        }
        self
    }

    /// Adds the routes of another table, with their policies and descriptions.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self.last = 0;
        self.api.merge(other.api);
        self
    }

    /// Returns the policy of a route, if the route exists.
    pub fn policy(&self, method: &Method, path: &str) -> Option<Policy> {
        let mut routes = self.routes.iter();
        routes.find(|route| route.method == *method && route.path == path).map(|route| route.policy)
    }

    /// Returns the policy of the route that a request matches, by its path pattern.
    ///
    /// # Errors
    /// A 404 problem if the path is not in the table, a 405 problem if it has no route for the
    /// method.
    pub fn find(&self, method: &Method, pattern: Option<&str>) -> Result<Policy, Problem> {
        let path = pattern.unwrap_or_default();
        let allowed = self.methods(path);
        if allowed.is_empty() {
            return Err(Problem::no_such_path());
        }
        self.policy(method, path).ok_or_else(|| method_not_allowed(&allowed))
    }

    /// Returns the methods of a path as a value of `Allow`; empty if the path is not in the table.
    fn methods(&self, path: &str) -> String {
        let routes = self.routes.iter().filter(|route| route.path == path);
        routes.map(|route| route.method.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Adds the descriptions of handlers: the function `openapi` of a type that derives
    /// `utoipa::OpenApi`. The first one with a title names the whole.
    #[must_use]
    pub fn described_by(mut self, part: fn() -> OpenApi) -> Self {
        self.api.describe(part);
        self
    }

    /// Describes the routes below `path` as those of the aggregate `A`: its refusals by their
    /// codes, and 404 `unknown_<type>`.
    #[must_use]
    pub fn of_aggregate<A: Aggregate<Error: DeserializeOwned>>(
        mut self,
        path: &'static str,
    ) -> Self {
        self.api.of_aggregate::<A>(path);
        self
    }

    /// Describes the problem 409 of values of these kinds that another aggregate has claimed.
    #[must_use]
    pub fn claims(mut self, kinds: &[&str]) -> Self {
        self.api.claims(kinds);
        self
    }

    /// Returns the OpenAPI 3.1 document of the described routes of this table.
    pub fn document(&self) -> OpenApi {
        self.api.document(self.list())
    }

    /// Returns all routes in the order in which they were added.
    pub fn list(&self) -> impl Iterator<Item = (&Method, &'static str, Policy)> {
        self.routes.iter().map(|route| (&route.method, route.path, route.policy))
    }

    /// Registers the routes with actix. Another method on one of the paths gets a [`Problem`]. So
    /// does a compressed body, a query of a method that is not safe, and an `If-Match` that does
    /// not match.
    pub fn configure(&self, config: &mut ServiceConfig) {
        let mut paths: Vec<&'static str> = Vec::new();
        for route in &self.routes {
            if !paths.contains(&route.path) {
                paths.push(route.path);
            }
        }
        for path in paths {
            let allowed = self.methods(path);
            let routes = self.routes.iter().filter(|route| route.path == path);
            let resource = routes.fold(web::resource(path), |to, route| (route.register)(to));
            let resource = resource.default_service(web::to(move || {
                let problem = method_not_allowed(&allowed);
                async { problem }
            }));
            config.service(resource.wrap(from_fn(exchange)));
        }
    }
}

fn method_not_allowed(allowed: &str) -> Problem {
    let detail = format!("allowed here: {allowed}");
    Problem::new(405, "method_not_allowed", detail).allow(allowed)
}
