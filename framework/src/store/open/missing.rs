//! Stand-ins for the stores that this program was built without: each names the missing feature.

use crate::error::StartError;
use crate::store::contract::AnyStore;

#[allow(dead_code, reason = "only one of the two may be missing")]
pub(super) async fn sqlite(_: &str) -> Result<AnyStore, StartError> {
    Err(missing("sqlite"))
}

#[allow(dead_code, reason = "only one of the two may be missing")]
pub(super) async fn postgres(_: &str) -> Result<AnyStore, StartError> {
    Err(missing("postgres"))
}

fn missing(feature: &str) -> StartError {
    let reason = format!("this program was built without it: add the feature `{feature}` of actum");
    StartError::Open { place: feature.to_owned(), reason }
}
