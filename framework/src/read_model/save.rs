//! Saving what was folded: documents and checkpoint in one transaction, however often the store must be
//! asked.

use std::sync::Arc;
use std::time::Instant;

use actix::Context;
use tracing::error;

use super::ReadModel;
use super::actor::ReadModelActor;
use super::documents::Unstorable;
use super::folder::Changes;
use super::role::Role;
use crate::error::StoreError;
use crate::failpoints;
use crate::partition::{Pacing, Reached, Retry, UpdateDraft};
use crate::store::contract::{DocumentBatch, Store};

/// Stores changes and the checkpoint that moves with them. The same batch is sent again until its
/// outcome is known, because a batch that was stored and whose reply was lost is recognised by its
/// sequence number.
///
/// # Errors
/// Another process moved the checkpoint, or the log is not the one that was folded. Nothing may be
/// stored any more.
async fn store_all(
    store: &dyn Store,
    (documents, deleted): (Vec<(String, String)>, Vec<String>),
    mut draft: UpdateDraft,
    mut retry: Retry,
) -> Result<Reached, StoreError> {
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

impl<M: ReadModel> ReadModelActor<M> {
    pub(super) fn save_if_due(&mut self, ctx: &mut Context<Self>) {
        let since = self.role.saver().and_then(|owner| owner.unsaved_since);
        let Some(since) = since else { return };
        let (pacing, is_catching_up) = (&self.pacing, self.progress.is_catching_up());
        let factor = if is_catching_up { 4 } else { 1 };
        // Other processes answer from what is saved, so their readers wait for it.
        let is_shared = self.is_shared && !is_catching_up;
        let save_after = match is_shared {
            true => pacing.save_after_shared,
            false => pacing.save_after * factor,
        };
        let (changed, age) = (self.folder.changed(), since.elapsed());
        let save_at = pacing.save_at.saturating_mul(factor as usize);
        let is_due = changed >= self.folder.sizes.fit(pacing.save_bytes, save_at)
            || (changed > 0 && age >= save_after)
            || age >= pacing.checkpoint_within(is_shared);
        if is_due {
            self.save(ctx);
        }
    }

    /// Saves what is unsaved, unless a save is in progress or nothing may be saved.
    pub(super) fn save(&mut self, ctx: &mut Context<Self>) {
        let (to, now, at) = (self.folder.reached, Instant::now(), self.clock.now());
        let Some(owner) = self.role.saver().filter(|owner| !owner.is_saving) else { return };
        let has_moved = to.position != owner.checkpoints.saved().position;
        if !has_moved && self.folder.parking.unsaved() == 0 {
            return;
        }
        let changes = match self.folder.hand_out(now, at) {
            Ok(changes) => changes,
            Err(full) => return self.halt(to.position, full.to_string(), false),
        };
        let Changes { documents, deleted, unstorable, parked } = changes;
        owner.is_saving = true;
        owner.handed_out = to.position;
        owner.unsaved_since = None;
        let draft = owner.checkpoints.update(to, parked);
        for Unstorable { key, reason, .. } in unstorable {
            error!(model = %self.partition, %key, %reason, "a document cannot be stored: its key is parked");
            self.progress.failed(format_args!("{key:?} is parked: {reason}"));
        }
        if let Some((key, body)) = documents.iter().max_by_key(|(_, body)| body.len()) {
            self.progress.largest_document(key, body.len());
        }
        let (store, retry) = (Arc::clone(&self.store), self.retry());
        let saving = async move { store_all(&*store, (documents, deleted), draft, retry).await };
        self.beside(ctx, saving, move |saved, act, ctx| {
            match saved {
                Ok(reached) => act.saved(reached, ctx),
                Err(fault) => act.fail(to.position, fault),
            }
            act.reply_if_saved(ctx);
        });
    }

    fn saved(&mut self, reached: Reached, ctx: &mut Context<Self>) {
        let Some(owner) = self.role.saver() else { return };
        owner.is_saving = false;
        owner.checkpoints.is_saved(reached);
        self.progress.count_save();
        self.progress.saved(reached.position);
        let Pacing { hot_bytes, hot_documents, .. } = self.pacing;
        self.folder.saved(hot_bytes, hot_documents);
        self.evict();
        self.resume_paused(ctx);
        self.save_if_due(ctx);
    }

    /// Replies to the driver if the actor is leaving and nothing is left to save.
    pub(super) fn reply_if_saved(&mut self, ctx: &mut Context<Self>) {
        if !matches!(self.role, Role::Leaving(_, Some(_))) {
            return;
        }
        self.save(ctx);
        if let Role::Leaving(owner, reply) = &mut self.role
            && !owner.is_saving
            && let Some(reply) = reply.take()
        {
            let _ = reply.send(Ok(())); // the application is stopping
        }
    }
}
