//! Versions of a read model or projection in the operations API: list, compare, activate, drop.

use actix_web::HttpResponse;
use actix_web::web::{Json, Path};

use super::App;
use crate::store::contract::{Comparison, Version};
use crate::web::body::NoBody;
use crate::web::problem::Problem;

pub(super) async fn versions(app: App, name: Path<String>) -> Result<Json<Vec<Version>>, Problem> {
    Ok(Json(app.operations().versions(&name).await?))
}

pub(super) async fn compare(app: App, name: Path<String>) -> Result<Json<Comparison>, Problem> {
    Ok(Json(app.operations().compare_versions(&name).await?))
}

pub(super) async fn serve(
    app: App,
    path: Path<(String, u32)>,
    _: NoBody,
) -> Result<Json<Vec<Version>>, Problem> {
    let (name, number) = path.into_inner();
    app.operations().serve_version(&name, number).await?;
    tracing::warn!(subscription = %name, version = number, "an operator lets this version serve");
    Ok(Json(app.operations().versions(&name).await?))
}

pub(super) async fn drop_version(
    app: App,
    path: Path<(String, u32)>,
    _: NoBody,
) -> Result<HttpResponse, Problem> {
    let (name, number) = path.into_inner();
    app.operations().drop_version(&name, number).await?;
    tracing::warn!(subscription = %name, version = number, "an operator has dropped this version");
    Ok(HttpResponse::NoContent().finish())
}
