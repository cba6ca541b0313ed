//! Answering reads, on an owner and on a standby alike.
//!
//! What is not in memory is loaded from the store. If somebody else has written meanwhile, what was
//! loaded is not what memory goes on from: then the lease is lost, and the reads ask the standby.

use std::cmp::max;
use std::sync::Arc;

use actix::fut::{ActorFutureExt, WrapFuture};
use actix::{AsyncContext, Context};

use super::actor::ReadModelActor;
use super::read::{Loading, Read, Stored};
use crate::checkpoint::{Checkpoint, PartitionId};
use crate::error::{ReadError, StoreError};
use crate::read_model::ReadModel;

/// What is stored, and the checkpoint that was when that had been loaded.
type Loaded = Result<(Stored, Option<Checkpoint>), StoreError>;

impl<M: ReadModel> ReadModelActor<M> {
    /// Answers a read, now or as soon as its position is reached.
    pub(super) fn receive(&mut self, mut read: Read<M>, ctx: &mut Context<Self>) {
        if let Some(halted) = self.halted() {
            return read.answer(Err(halted));
        }
        if !self.stopping.is_empty() {
            return read.answer(Err(ReadError::Stopping));
        }
        read.wanted = max(read.wanted, self.progress.answers_from());
        let reached = self.term.reached.position;
        if read.wanted <= reached {
            self.reads.look_up(read, &mut self.term);
            return self.load_for_reads(ctx);
        }
        self.reads.wait(read);
        if self.term.lease.is_none() {
            self.look(ctx);
        }
    }

    /// Answers the reads whose position is reached.
    pub(super) fn answer_due(&mut self, ctx: &mut Context<Self>) {
        let reached = self.term.reached.position;
        for read in self.reads.due(reached) {
            self.reads.look_up(read, &mut self.term);
        }
        self.load_for_reads(ctx);
    }

    fn load_for_reads(&mut self, ctx: &mut Context<Self>) {
        let begun = self.reads.begin_load(&mut self.term);
        let Some((keys, loading)) = begun else { return };
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let term = self.terms;
        let is_owner = self.term.lease.is_some();
        let has_rivals = self.is_shared && is_owner;
        let load = async move {
            // In this order: what was let go is in the documents, and the checkpoint is not older.
            let parked = match is_owner {
                true => Vec::new(),
                false => {
                    let of = Some(&*keys);
                    store.list_parked(&partition.model, of, keys.len()).await?.keys
                }
            };
            let documents = store.load_documents(&partition.model, &keys).await?;
            let stored = if has_rivals { store.load_checkpoint(&partition).await? } else { None };
            Ok((Stored { documents, parked }, stored))
        };
        ctx.spawn(load.into_actor(self).map(move |loaded, act, ctx| {
            act.loaded(term, loading, loaded, ctx);
            act.load_for_reads(ctx);
        }));
    }

    fn loaded(&mut self, term: u64, loading: Loading<M>, loaded: Loaded, ctx: &mut Context<Self>) {
        let reached = self.term.reached.position;
        if term != self.terms {
            for read in self.reads.give_up_load(loading) {
                self.receive(read, ctx);
            }
            return;
        }
        let loaded = loaded.map(|(found, checkpoint)| {
            (found, checkpoint.filter(|stored| stored.position > reached))
        });
        match loaded {
            Ok((_, Some(ahead))) => {
                for read in self.reads.give_up_load(loading) {
                    self.reads.wait(read);
                }
                let fault = ahead_of(&self.partition, ahead);
                self.fail(reached.next(), fault, ctx);
            }
            loaded => {
                let found = loaded.map(|(found, _)| found);
                self.reads.end_load(loading, found, &mut self.term);
            }
        }
    }
}

/// Somebody else has written.
pub(super) fn ahead_of(partition: &PartitionId, stored: Checkpoint) -> StoreError {
    let reason = format!("another writer has moved it to {}", stored.position);
    StoreError::Checkpoint { name: partition.to_string(), reason }
}
