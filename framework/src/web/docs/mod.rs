//! `GET /docs`: the OpenAPI document as a page that can send each request.
//!
//! The page consists of three small files in the program's memory, because Swagger UI is 1.5 MB and
//! brings as many dependencies as a third of a whole application.

use actix_web::http::header;
use actix_web::web::{Bytes, Path};
use actix_web::{HttpResponse, Responder};

use crate::web::problem::Problem;

/// Content security policy: only scripts, styles and data of this server are loaded.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                   base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const INDEX: &str = include_str!("index.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

pub(super) async fn index() -> impl Responder {
    page("text/html; charset=utf-8", INDEX)
}

pub(super) async fn file(name: Path<String>) -> Result<HttpResponse, Problem> {
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
