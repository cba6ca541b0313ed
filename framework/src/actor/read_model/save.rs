//! Storing what was folded: documents and checkpoint, in one transaction, however often the store
//! must be asked.

use std::sync::Arc;

use tracing::warn;

use super::fold::Reached;
use super::resume::event_at;
use crate::crash;
use crate::document::{Checkpoint, DocumentBatch, Store};
use crate::error::StoreError;
use crate::lease::Lease;
use crate::stream::GlobalPosition;
use crate::subscription::Pause;

/// What is to be stored.
pub(super) struct Save {
    pub(super) name: Arc<str>,
    pub(super) documents: Vec<(String, String)>,
    pub(super) from: GlobalPosition,
    pub(super) lease: Lease,
    pub(super) to: Reached,
}

/// Stores it. The same batch is sent again until its fate is known: one that was stored and whose
/// answer was lost is recognised by its checkpoint.
///
/// # Errors
/// The checkpoint was moved by somebody else, or the log is not the one that was folded. Nothing
/// may be stored any more.
pub(super) async fn store(
    store: &dyn Store,
    save: Save,
    mut pause: Pause,
) -> Result<(), StoreError> {
    let Save { name, documents, from, lease, to } = save;
    let event_id = loop {
        match to.event_id {
            Some(event_id) => break event_id,
            None => match event_at(store, to.position).await {
                Ok(Some(event_id)) => break event_id,
                Ok(None) => {
                    let reason =
                        format!("the log has no event at position {} any more", to.position);
                    return Err(StoreError::Checkpoint { name: name.to_string(), reason });
                }
                Err(error) => retry(&name, error, &mut pause).await?,
            },
        }
    };
    let checkpoint =
        Checkpoint { log_id: store.identity().log_id, position: to.position, event_id };
    let batch = DocumentBatch { model: name.to_string(), documents, from, checkpoint, lease };
    crash::point("read_model.before_save");
    while let Err(error) = store.save_documents(batch.clone()).await {
        retry(&name, error, &mut pause).await?;
    }
    crash::point("read_model.after_save");
    Ok(())
}

/// The documents with these keys, to fold on from `reached`, however often the store must be asked.
///
/// # Errors
/// They cannot be read, or somebody else has stored newer ones: folded on, those would count
/// events twice.
pub(super) async fn load(
    store: &dyn Store,
    name: &str,
    keys: &[String],
    reached: GlobalPosition,
    mut pause: Pause,
) -> Result<Vec<(String, String)>, StoreError> {
    loop {
        // In this order: the checkpoint is not older than the documents.
        let documents = store.load_documents(name, keys).await;
        let loaded = match documents {
            Ok(documents) => store.load_checkpoint(name).await.map(|stored| (documents, stored)),
            Err(error) => Err(error),
        };
        match loaded {
            Ok((documents, stored)) => match stored.filter(|stored| stored.position > reached) {
                None => return Ok(documents),
                Some(ahead) => {
                    let reason = format!("another writer has moved it to {}", ahead.position);
                    return Err(StoreError::Checkpoint { name: name.to_owned(), reason });
                }
            },
            Err(error) => retry(name, error, &mut pause).await?,
        }
    }
}

/// Rests if the store may answer later; gives the error back if not.
async fn retry(name: &str, error: StoreError, pause: &mut Pause) -> Result<(), StoreError> {
    match error {
        StoreError::Unavailable(_) | StoreError::Unknown(_) => {
            warn!(model = %name, %error, "the store did not answer a read model; trying again");
            pause.rest().await;
            Ok(())
        }
        StoreError::Hole { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Checkpoint { .. }
        | StoreError::LeaseLost { .. } => Err(error),
    }
}
