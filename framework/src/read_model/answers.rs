//! Responses to reads, on an owner and on a standby alike.
//!
//! Documents that are not in memory are loaded from the store. A standby does not follow the log. It
//! loads document, checkpoint and parked keys from one snapshot, so a response names exactly the
//! position that it reflects. While no read waits, a standby sends no statements.

use std::cmp::max;
use std::sync::Arc;

use actix::fut::{ActorFutureExt, WrapFuture};
use actix::{AsyncContext, Context};
use tokio::time::sleep;

use super::ReadModel;
use super::actor::ReadModelActor;
use super::read::{Loading, Read};
use super::role::Role;
use crate::error::{ReadError, StoreError};
use crate::partition::Reached;
use crate::store::contract::{Checkpoint, DocumentsAt, PartitionId};
use crate::subscription::same_log;

type Loaded = Result<DocumentsAt, StoreError>;

impl<M: ReadModel> ReadModelActor<M> {
    /// Answers a read, now or as soon as its position is reached.
    pub(super) fn receive(&mut self, mut read: Read<M>, ctx: &mut Context<Self>) {
        if let Some(halted) = self.halted() {
            return read.answer(Err(halted));
        }
        if self.is_stopping {
            return read.answer(Err(ReadError::Stopping));
        }
        read.wanted = max(read.wanted, self.progress.answers_from());
        if read.wanted <= self.reached() {
            self.reads.look_up(read, &mut self.folder);
            return self.load_for_reads(ctx);
        }
        self.reads.wait(read);
        self.look(ctx);
    }

    /// Answers the reads whose position is reached.
    pub(super) fn answer_due(&mut self, ctx: &mut Context<Self>) {
        for read in self.reads.due(self.reached()) {
            self.reads.look_up(read, &mut self.folder);
        }
        self.load_for_reads(ctx);
    }

    fn load_for_reads(&mut self, ctx: &mut Context<Self>) {
        let is_owner = self.role.has_memory();
        let begun = self.reads.begin_load(&mut self.folder, is_owner);
        let Some((keys, loading)) = begun else { return };
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let term = self.terms;
        let load = async move { store.load_documents(&partition, &keys).await };
        ctx.spawn(load.into_actor(self).map(move |loaded, act, ctx| {
            act.loaded(term, loading, loaded, ctx);
            act.load_for_reads(ctx);
            act.settle(ctx);
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
        if !self.role.has_memory() {
            return self.seen_with(stored, loading, loaded, ctx);
        }
        let reached = self.reached();
        match stored.filter(|stored| stored.position > reached) {
            // Another process has written, so memory is not what the store continues from.
            Some(ahead) => {
                for read in self.reads.give_up_load(loading) {
                    self.reads.wait(read);
                }
                self.fail(reached.next(), ahead_of(&self.partition, ahead));
            }
            None => self.reads.end_load(loading, loaded, &mut self.folder, true),
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
        if let Err(fault) = same_log(&*self.store, &self.partition.to_string(), stored) {
            for read in self.reads.give_up_load(loading) {
                self.reads.wait(read);
            }
            return self.halt_standby(&fault);
        }
        self.reads.end_load(loading, loaded, &mut self.folder, false);
        self.saw(stored, ctx);
        if !self.reads.nobody_waits() {
            self.look(ctx);
        }
    }

    /// A standby learns what the owner has saved.
    pub(super) fn saw(&mut self, checkpoint: Option<Checkpoint>, ctx: &mut Context<Self>) {
        if self.role.has_memory() {
            return;
        }
        // Two looks may overtake one another.
        let seen = Reached::of(checkpoint);
        if seen.position >= self.reached() {
            self.folder.reached = seen;
            self.progress.committed(seen.position);
        }
        self.answer_due(ctx);
    }

    /// Looks how far the owner has saved, and again as long as a read waits for more.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let is_running = !self.is_stopping && self.halted().is_none();
        let Role::Standby { is_looking } = &mut self.role else { return };
        if *is_looking || !is_running {
            return;
        }
        *is_looking = true;
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let looking = async move { store.load_checkpoint(&partition).await };
        self.beside(ctx, looking, |looked, act, ctx| {
            // If the store did not reply, the reads go on waiting.
            if let Ok(checkpoint) = looked {
                match same_log(&*act.store, &act.partition.to_string(), checkpoint) {
                    Ok(_) => act.saw(checkpoint, ctx),
                    Err(fault) => return act.halt_standby(&fault),
                }
            }
            act.beside(ctx, sleep(act.pacing.look_every), |(), act, ctx| {
                if let Role::Standby { is_looking } = &mut act.role {
                    *is_looking = false;
                }
                if !act.reads.nobody_waits() {
                    act.look(ctx);
                }
            });
        });
    }

    /// The checkpoint belongs to another log: nothing can be answered from it.
    fn halt_standby(&mut self, fault: &StoreError) {
        self.progress.halt(self.reached(), fault.to_string());
        if let Some(halted) = self.halted() {
            self.reads.refuse_all(&halted);
        }
    }
}

/// The fault that another process has written.
pub(super) fn ahead_of(partition: &PartitionId, stored: Checkpoint) -> StoreError {
    let reason = format!("another writer has moved it to {}", stored.position);
    StoreError::Checkpoint { name: partition.to_string(), reason }
}
