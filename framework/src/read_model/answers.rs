//! Answering reads, on an owner and on a standby alike.
//!
//! What is not in memory is loaded from the store. If somebody else has written meanwhile, what was
//! loaded is not what memory goes on from: then the lease is lost, and the reads ask the standby.

use std::cmp::max;
use std::sync::Arc;

use actix::fut::{ActorFutureExt, WrapFuture};
use actix::{AsyncContext, Context};

use super::ReadModel;
use super::actor::ReadModelActor;
use super::read::{Loading, Read};
use crate::error::{ReadError, StoreError};
use crate::store::contract::{Checkpoint, DocumentsAt, PartitionId};
use crate::subscription::same_log;

type Loaded = Result<DocumentsAt, StoreError>;

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
        if self.term.session.is_none() {
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
        let load = async move { store.load_documents_at(&partition, &keys).await };
        ctx.spawn(load.into_actor(self).map(move |loaded, act, ctx| {
            act.loaded(term, loading, loaded, ctx);
            act.load_for_reads(ctx);
        }));
    }

    fn loaded(&mut self, term: u64, loading: Loading<M>, loaded: Loaded, ctx: &mut Context<Self>) {
        if term != self.terms {
            for read in self.reads.give_up_load(loading) {
                self.receive(read, ctx);
            }
            return;
        }
        let stored = loaded.as_ref().ok().and_then(|loaded| loaded.checkpoint);
        if self.term.session.is_none() {
            return self.seen_with(stored, loading, loaded, ctx);
        }
        let reached = self.term.reached.position;
        match stored.filter(|stored| stored.position > reached) {
            Some(ahead) => {
                for read in self.reads.give_up_load(loading) {
                    self.reads.wait(read);
                }
                let fault = ahead_of(&self.partition, ahead);
                self.fail(reached.next(), fault, ctx);
            }
            None => self.reads.end_load(loading, loaded, &mut self.term),
        }
    }

    /// Answers the reads of a standby from the snapshot that the owner's last save left, and
    /// remembers how far that is.
    fn seen_with(
        &mut self,
        stored: Option<Checkpoint>,
        loading: Loading<M>,
        loaded: Loaded,
        ctx: &mut Context<Self>,
    ) {
        let name = self.partition.to_string();
        if let Err(fault) = same_log(&*self.store, &name, stored) {
            for read in self.reads.give_up_load(loading) {
                self.reads.wait(read);
            }
            return self.halt(self.term.reached.position, fault.to_string(), ctx);
        }
        self.reads.end_load(loading, loaded, &mut self.term);
        self.saw(stored, ctx);
        if !self.reads.nobody_waits() {
            self.look(ctx);
        }
    }
}

/// Somebody else has written.
pub(super) fn ahead_of(partition: &PartitionId, stored: Checkpoint) -> StoreError {
    let reason = format!("another writer has moved it to {}", stored.position);
    StoreError::Checkpoint { name: partition.to_string(), reason }
}
