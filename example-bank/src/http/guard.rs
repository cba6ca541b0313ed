//! The one guard around all routes of a table: who asks, and whether the route's policy lets them.
//!
//! It stands around the whole service, so that no handler can be reached beside it; a path or method
//! that the table does not have leads nowhere, whatever else was registered under it. Whoever passes
//! is in the request as its [`Principal`]. Which accounts are whose is not decided here.

use std::rc::Rc;

use actix_web::body::BoxBody;
use actix_web::dev::{HttpServiceFactory, ServiceRequest};
use actix_web::middleware::{Next, from_fn};
use actix_web::{HttpMessage, ResponseError, Scope, web};
use actum::web::{Principal, Problem, Routes};

use super::{Policy, same_origin};
use crate::access::Access;
use crate::limits::Buckets;

/// The routes of this table behind the guard, and nothing else.
pub(super) fn guarded(table: Routes<Policy>, access: Access) -> impl HttpServiceFactory {
    behind(access, Rc::new(table.clone()), web::scope("").configure(|to| table.configure(to)))
}

/// A scope, entered by clients that may take a route of the table.
fn behind(access: Access, table: Rc<Routes<Policy>>, scope: Scope) -> impl HttpServiceFactory {
    scope.wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| {
        let policy = table.find(request.method(), request.match_pattern().as_deref()).copied();
        let is_probe = matches!(policy, Ok(Policy::Probe));
        let admitted = policy.and_then(|policy| admit(&access, policy, &request));
        async move {
            let admitted = admitted.map(|principal| {
                if let Some(principal) = principal {
                    request.extensions_mut().insert(principal);
                }
            });
            // A client that is not let in is counted too, by its address.
            let counted = if is_probe { Ok(()) } else { Buckets::enter(request.request()) };
            match counted.and(admitted) {
                Ok(()) => next.call(request).await,
                Err(problem) => Ok(request.into_response(problem.error_response())),
            }
        }
    }))
}

/// Checks that the request may go on. Returns its principal, or `None` on a route that needs none.
fn admit(
    access: &Access,
    policy: Policy,
    request: &ServiceRequest,
) -> Result<Option<Principal>, Problem> {
    if access.is_dev() {
        same_origin::check(request.head())?;
    }
    let Some(scope) = policy.scope() else { return Ok(None) };
    let principal = access.principal(request.headers()).ok_or_else(Problem::unauthenticated)?;
    match principal.may(scope) {
        true => Ok(Some(principal)),
        false => Err(Problem::new(403, "forbidden", format!("this needs the scope {scope}"))),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_service, init_service};
    use actix_web::{App, web};
    use actum::web::Routes;

    use super::{Rc, behind};
    use crate::access::Access;
    use crate::http::Policy;

    #[actix_web::test]
    async fn a_route_that_is_served_beside_the_table_is_not_reached() {
        let table = Routes::default().get("/here", Policy::Public, async || "in");
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
