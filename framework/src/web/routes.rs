//! The routes of an application, each with its policy.
//!
//! [`Routes`] is a table that can be read back, so that the guard that enforces policies, the document
//! that describes the API and the tests all speak of the same routes.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder};

use super::exchange::exchange;
use super::openapi::Api;
use super::policy::Policy;
use super::problem::Problem;

/// Makes a route of a resource, in each worker anew.
type Register = Arc<dyn Fn(Resource) -> Resource + Send + Sync>;

/// A table of routes. A route needs a credential unless it says otherwise: [`Routes::needs`],
/// [`Routes::public`] and [`Routes::probe`] are about the route that was added last.
#[derive(Clone, Default)]
pub struct Routes {
    routes: Vec<Route>,
    /// Number of entries that the last call has added: a `GET` brings its `HEAD`.
    last: usize,
    pub(super) api: Api,
}

#[derive(Clone)]
struct Route {
    method: Method,
    path: &'static str,
    policy: Policy,
    register: Register,
}

impl Routes {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `GET` and, without the body, `HEAD`.
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

    /// Answers `POST`.
    #[must_use]
    pub fn post<F, Args>(self, path: &'static str, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route(Method::POST, path, handler)
    }

    /// Answers `PUT`.
    #[must_use]
    pub fn put<F, Args>(self, path: &'static str, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route(Method::PUT, path, handler)
    }

    /// Answers `DELETE`.
    #[must_use]
    pub fn delete<F, Args>(self, path: &'static str, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route(Method::DELETE, path, handler)
    }

    /// Answers this method.
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

    /// Lets the last route need a credential with this scope.
    #[must_use]
    pub fn needs(self, scope: &'static str) -> Self {
        self.policy_of_last(Policy::Scope(scope))
    }

    /// Lets the last route need no credential.
    #[must_use]
    pub fn public(self) -> Self {
        self.policy_of_last(Policy::Public)
    }

    /// Lets the last route need no credential, and excepts it from the rate limit.
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

    /// The policy of the route, if there is one.
    pub fn policy(&self, method: &Method, path: &str) -> Option<Policy> {
        let mut routes = self.routes.iter();
        routes.find(|route| route.method == *method && route.path == path).map(|route| route.policy)
    }

    /// The policy of the route that a request takes, by the pattern its path matches; or what it is
    /// answered: nothing is there (404), or another method is wanted (405).
    ///
    /// # Errors
    /// The request takes no route of the table.
    pub fn find(&self, method: &Method, pattern: Option<&str>) -> Result<Policy, Problem> {
        let path = pattern.unwrap_or_default();
        let allowed = self.methods(path);
        if allowed.is_empty() {
            return Err(Problem::no_such_path());
        }
        self.policy(method, path).ok_or_else(|| method_not_allowed(&allowed))
    }

    /// The methods of a path, as `Allow` lists them; nothing if it is not in the table.
    fn methods(&self, path: &str) -> String {
        let routes = self.routes.iter().filter(|route| route.path == path);
        routes.map(|route| route.method.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// All of them, in the order in which they were added.
    pub fn list(&self) -> impl Iterator<Item = (&Method, &'static str, Policy)> {
        self.routes.iter().map(|route| (&route.method, route.path, route.policy))
    }

    /// Serves the routes. Another method on one of the paths is answered with a [`Problem`], and so is
    /// a packed body, a query of a method that is not safe, and an `If-Match` that does not hold.
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
