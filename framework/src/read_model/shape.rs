//! A look at stored documents before anything is served: can this program read them?
//!
//! A field added without a default, or a field of another type, makes every stored document
//! unreadable while the `VERSION` says that nothing has changed. One damaged document is another
//! matter: it parks its own key when the next event for it comes. The two differ in number and in
//! kind, so a sample tells them apart.

use super::ReadModel;
use super::encoding::{Unreadable, decode};
use crate::error::StartError;
use crate::store::contract::{DocumentRange, Store};

/// The most documents that are looked at. They are the first by their keys, so looking at them costs
/// one short page; a shape that has changed shows in almost any of them.
const SAMPLE: usize = 20;

/// Checks that this program reads the stored documents of `M`.
///
/// # Errors
/// [`StartError::Shape`] if at least half of the sample is JSON that does not decode to an `M`, or the
/// store did not answer.
pub(super) async fn check<M: ReadModel>(store: &dyn Store, model: &str) -> Result<(), StartError> {
    let first = DocumentRange { limit: SAMPLE, ..DocumentRange::default() };
    let sample = store.list_documents(model, &first).await?.documents;
    let unfit = sample.iter().filter_map(|(key, body)| match decode::<M>(body) {
        Err(Unreadable { reason, is_of_another_shape: true }) => Some((key, reason)),
        Ok(_) | Err(_) => None,
    });
    let unfit: Vec<_> = unfit.collect();
    match unfit.first() {
        Some((key, reason)) if unfit.len() * 2 >= sample.len() => Err(StartError::Shape {
            model: model.to_owned(),
            unfit: unfit.len(),
            sampled: sample.len(),
            key: (*key).clone(),
            reason: reason.clone(),
        }),
        _ => Ok(()),
    }
}
