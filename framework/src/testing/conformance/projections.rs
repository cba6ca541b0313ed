//! Tests of places for projections: a store has them, or refuses them by name.

use crate::error::StartError;
use crate::store::contract::Store;

/// The refusal names the projection. To drop a place that is not there is no error, because a read
/// model is dropped by the same call.
pub async fn a_store_opens_projections_or_refuses_them_by_name(store: impl Store) {
    match store.open_projection("statement", 3).await {
        Ok(_) => assert!(store.info().has_projections, "a store that has projections says so"),
        Err(StartError::Open { place, reason }) if !store.info().has_projections => {
            assert!(place.contains("statement"), "{place}");
            assert!(reason.contains("SqliteStore"), "it names stores that have them: {reason}");
        }
        Err(error) => panic!("{error}"),
    }
    store.drop_projection("statement", 3).await.unwrap();
    store.drop_projection("never there", 1).await.unwrap();
}
