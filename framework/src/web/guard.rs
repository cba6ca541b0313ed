//! Guard of all routes of a table: authenticates the client and enforces the policy of the route.
//!
//! The guard wraps the whole service, so no handler can be reached without it. A path or method
//! that is not in the table is refused, whatever else was registered for it. The authenticated
//! [`Principal`] is stored in the request.

use std::rc::Rc;

use actix_web::body::BoxBody;
use actix_web::dev::{HttpServiceFactory, ServiceRequest};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpMessage, ResponseError, Scope};

use super::access::Access;
use super::docs::Document;
use super::input::strict_input;
use super::limits::Buckets;
use super::policy::Policy;
use super::principal::Principal;
use super::problem::Problem;
use super::routes::Routes;
use super::same_origin;
use crate::application::Application;

impl Routes {
    /// Serves the routes of this table, and nothing else, on the application, to the clients that
    /// `access` admits: for `App::configure`. A [`Server`](super::Server) calls this itself.
    pub fn serve(
        self,
        app: Application,
        access: Access,
    ) -> impl FnOnce(&mut ServiceConfig) + Clone + Send + 'static {
        let app = Data::new(app);
        let document = Data::new(Document::of(self.clone()));
        move |config| {
            config.configure(strict_input).app_data(app).app_data(Data::new(access.clone()));
            config.app_data(document);
            let table = Rc::new(self);
            let scope = web::scope("").configure(|to| table.configure(to));
            config.service(behind(access, table, scope));
        }
    }
}

/// Wraps a scope with the guard for the routes of the table.
fn behind(access: Access, table: Rc<Routes>, scope: Scope) -> impl HttpServiceFactory {
    scope.wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| {
        let policy = table.find(request.method(), request.match_pattern().as_deref());
        let is_probe = matches!(policy, Ok(Policy::Probe));
        let admitted = policy.and_then(|policy| admit(&access, policy, &request));
        async move {
            let admitted = admitted.map(|principal| {
                if let Some(principal) = principal {
                    request.extensions_mut().insert(principal);
                }
            });
            // A client that is not admitted is counted too, by its address.
            let counted = if is_probe { Ok(()) } else { Buckets::enter(request.request()) };
            match counted.and(admitted) {
                Ok(()) => next.call(request).await,
                Err(problem) => Ok(request.into_response(problem.error_response())),
            }
        }
    }))
}

/// Authenticates and authorises a request. Returns its principal, or `None` on a route that needs
/// none.
fn admit(
    access: &Access,
    policy: Policy,
    request: &ServiceRequest,
) -> Result<Option<Principal>, Problem> {
    if access.is_dev() {
        same_origin::check(request.head())?;
    }
    if !policy.needs_credential() {
        return Ok(None);
    }
    let principal = access.principal(request.headers()).ok_or_else(Problem::unauthenticated)?;
    let scope = match policy {
        Policy::Operator => Some(access.operators()),
        policy => policy.scope(),
    };
    match scope.filter(|scope| !principal.may(scope)) {
        None => Ok(Some(principal)),
        Some(scope) => Err(Problem::new(403, "forbidden", format!("this needs the scope {scope}"))),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_service, init_service};
    use actix_web::{App, web};

    use super::{Access, Rc, Routes, behind};

    #[actix_web::test]
    async fn a_route_that_is_served_beside_the_table_is_not_reached() {
        let table = Routes::new().get("/here", async || "in").public();
        let served = web::scope("").configure(|config| table.configure(config));
        let served = served.route("/beside", web::get().to(async || "in"));
        let app = App::new().service(behind(Access::dev(), Rc::new(table), served));
        let service = init_service(app).await;
        for (request, status) in [
            (TestRequest::get().uri("/here"), 200),
            (TestRequest::get().uri("/beside"), 404),
            (TestRequest::post().uri("/here"), 405),
            (TestRequest::get().uri("/nowhere"), 404),
        ] {
            let response = call_service(&service, request.to_request()).await;
            assert_eq!(response.status().as_u16(), status);
        }
    }
}
