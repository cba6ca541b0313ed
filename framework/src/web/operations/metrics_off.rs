//! Replacement of `metrics.rs` without the feature `prometheus`: there is no `/metrics`.

use crate::web::routes::Routes;

pub(super) fn add(routes: Routes) -> Routes {
    routes
}
