//! `GET /openapi.json`, and `GET /docs`: the OpenAPI document, and a page that can send each request.
//!
//! The page consists of three small files in the program's memory, because Swagger UI is 1.5 MB and
//! brings as many dependencies as a third of a whole application.

use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpResponse, Responder};

use super::problem::Problem;
use super::routes::Routes;

/// Content security policy: only scripts, styles and data of this server are loaded.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                   base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const INDEX: &str = include_str!("index.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

#[derive(utoipa::OpenApi)]
#[openapi(paths(openapi))]
struct Description;

/// Routes `GET /openapi.json`, the document of the whole table, and `GET /docs`, the same as a page
/// that can send each request. Both are public.
pub fn api_document() -> Routes {
    Routes::new()
        .get("/openapi.json", openapi)
        .public()
        .get("/docs", index)
        .public()
        .get("/docs/{file}", file)
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

async fn index() -> impl Responder {
    page("text/html; charset=utf-8", INDEX)
}

async fn file(name: Path<String>) -> Result<HttpResponse, Problem> {
    match name.as_str() {
        "page.js" => Ok(page("text/javascript; charset=utf-8", SCRIPT)),
        "page.css" => Ok(page("text/css; charset=utf-8", STYLE)),
        _ => Err(Problem::new(404, "no_such_path", "no resource has this path")),
    }
}

fn page(content_type: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header((header::CONTENT_SECURITY_POLICY, CSP))
        .body(Bytes::from_static(text.as_bytes()))
}
