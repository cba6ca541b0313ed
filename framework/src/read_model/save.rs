//! Storing what was folded: documents and checkpoint, in one transaction, however often the store
//! must be asked.

use std::sync::Arc;
use std::time::Instant;

use actix::Context;
use tracing::error;

use super::ReadModel;
use super::actor::ReadModelActor;
use super::documents::{HandedOut, Unstorable};
use crate::error::StoreError;
use crate::failpoints;
use crate::partition::parking::Full;
use crate::partition::{Pacing, Reached, Retry, UpdateDraft};
use crate::store::contract::{DocumentBatch, DocumentsAt, PartitionId, Store};

/// Documents and the checkpoint that moves with them.
struct Save {
    documents: Vec<(String, String)>,
    deleted: Vec<String>,
    draft: UpdateDraft,
}

/// Stores it. The same batch is sent again until its fate is known: one that was stored and whose
/// answer was lost is recognised by its checkpoint.
///
/// # Errors
/// The checkpoint was moved by somebody else, or the log is not the one that was folded. Nothing
/// may be stored any more.
async fn store_all(store: &dyn Store, save: Save, mut retry: Retry) -> Result<Reached, StoreError> {
    let Save { documents, deleted, mut draft } = save;
    let update = loop {
        match draft.build(store).await {
            Ok(update) => break update,
            Err(error) => retry.after(error).await?,
        }
    };
    let batch = DocumentBatch { documents, deleted, update };
    failpoints::point("read_model.before_save");
    while let Err(error) = store.save_documents(batch.clone()).await {
        retry.after(error).await?;
    }
    failpoints::point("read_model.after_save");
    Ok(draft.to())
}

/// The documents with these keys and the checkpoint of the same moment, however often the store
/// must be asked.
///
/// # Errors
/// They cannot be read.
pub(super) async fn load(
    store: &dyn Store,
    partition: &PartitionId,
    keys: &[String],
    mut retry: Retry,
) -> Result<DocumentsAt, StoreError> {
    loop {
        match store.load_documents_at(partition, keys).await {
            Ok(loaded) => return Ok(loaded),
            Err(error) => retry.after(error).await?,
        }
    }
}

impl<M: ReadModel> ReadModelActor<M> {
    pub(super) fn save_if_due(&mut self, ctx: &mut Context<Self>) {
        let Some(since) = self.term.unsaved_since else { return };
        let is_catching_up = self.progress.is_catching_up();
        let factor = if is_catching_up { 4 } else { 1 };
        // Other processes answer from what is saved, so their readers wait for it.
        let settings = &self.settings;
        let (save_after, checkpoint_after) = match self.is_shared && !is_catching_up {
            true => (settings.save_after_shared, settings.save_after_shared * 4),
            false => (settings.save_after * factor, settings.checkpoint_after),
        };
        let (changed, age) =
            (self.term.documents.changed() + self.term.parking.unsaved(), since.elapsed());
        let save_at = settings.save_at.saturating_mul(factor as usize);
        let is_due = changed >= self.term.sizes.fit(settings.save_bytes, save_at)
            || (changed > 0 && age >= save_after)
            || age >= checkpoint_after;
        if is_due {
            self.save(ctx);
        }
    }

    /// Saves what is unsaved, unless a save is under way or there is nothing that may be saved.
    pub(super) fn save(&mut self, ctx: &mut Context<Self>) {
        let term = &mut self.term;
        if term.is_saving || term.is_in_doubt {
            return;
        }
        if term.reached.position == term.saved() && term.parking.unsaved() == 0 {
            return;
        }
        if term.session.is_none() {
            return;
        }
        let HandedOut { documents, deleted, unstorable } = term.documents.hand_out();
        if let Err(full) = self.set_back(unstorable) {
            // The checkpoint must not pass events that are neither in a document nor queued.
            self.term.is_in_doubt = true;
            return self.halt(self.term.reached.position, full.to_string(), ctx);
        }
        self.term.sizes.measured(documents.iter().map(|(_, body)| body.len()));
        if let Some((key, body)) = documents.iter().max_by_key(|(_, body)| body.len()) {
            self.progress.largest_document(key, body.len());
        }
        let term = &mut self.term;
        term.is_saving = true;
        term.handed_out = term.reached.position;
        term.unsaved_since = None;
        let to = term.reached;
        let draft = term.checkpoints.update(to, term.parking.hand_out());
        let save = Save { documents, deleted, draft };
        let (store, retry) = (Arc::clone(&self.store), self.retry());
        let saving = async move { store_all(&*store, save, retry).await };
        self.beside(ctx, saving, move |result, act, ctx| {
            act.term.is_saving = false;
            match result {
                Ok(reached) => act.saved(reached, ctx),
                Err(fault) => {
                    act.term.is_in_doubt = true;
                    act.fail(to.position, fault, ctx);
                }
            }
            act.leave_if_saved(ctx);
        });
    }

    /// Parks the keys of documents that cannot be stored. They are tried again at once, one event
    /// after the other, and then stand at the first event that their document does not survive.
    ///
    /// # Errors
    /// Too many keys are parked: the cause is the code and not one document.
    fn set_back(&mut self, unstorable: Vec<Unstorable>) -> Result<(), Full> {
        let (now, at) = (Instant::now(), self.clock.now());
        for Unstorable { key, positions, reason } in unstorable {
            error!(model = %self.partition, %key, %reason, "a document cannot be stored: its key is parked");
            self.progress.failed(format_args!("{key:?} is parked: {reason}"));
            self.term.parking.set_back(&key, &positions, reason, now, at)?;
        }
        Ok(())
    }

    fn saved(&mut self, reached: Reached, ctx: &mut Context<Self>) {
        self.term.checkpoints.is_saved(reached);
        self.progress.count_save();
        self.progress.saved(reached.position);
        self.term.documents.saved();
        self.term.parking.saved();
        let Pacing { hot_bytes, hot_documents, .. } = self.settings;
        self.term.documents.set_capacity(self.term.sizes.fit(hot_bytes, hot_documents));
        self.term.evict();
        if std::mem::take(&mut self.term.is_paused) {
            self.pull(ctx);
        }
        self.save_if_due(ctx);
    }
}
