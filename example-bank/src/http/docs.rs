//! `GET /docs/`: the OpenAPI document for people, by a Swagger UI that is part of the program.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::Path;
use actix_web::{HttpResponse, Responder};
use actum::web::Problem;
use utoipa_swagger_ui::{Config, serve};

/// Everything comes from here. The interface writes styles into the page; nothing else is allowed.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                   img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                   frame-ancestors 'none'";

/// The page's own links are relative to the folder.
pub(super) async fn index() -> impl Responder {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "/docs/")).finish()
}

pub(super) async fn file(name: Path<String>) -> Result<HttpResponse, Problem> {
    let document = Arc::new(Config::from("/openapi.json"));
    let found = serve(&name, document).map_err(|error| Problem::internal(&error))?;
    let file = found.ok_or_else(|| Problem::new(404, "no_such_path", "nothing is here"))?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, file.content_type))
        .insert_header((header::CONTENT_SECURITY_POLICY, CSP))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(file.bytes.into_owned()))
}
